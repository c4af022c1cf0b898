"""The code blocks of Markdown pages, and what their first lines say about them.

```python mine.py        a file that the reader saves under this name
```sh                    commands that the reader types, each line by itself
```sh background         one command that goes on running, in a terminal of its own
```text                  what the commands above print; … stands for anything
```python                code that continues the blocks above it on the page
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

PLAYED: Final = frozenset({"docs/tutorial.md", *(f"docs/how-to/{name}.md" for name in ("assertion", "plugin", "test"))})
"""Pages of which every block is typed by a test, in order, in an empty folder."""

_FENCE: Final = re.compile(r"^(?P<fence>`{3,})(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=fence)[ ]*$", re.M | re.S)


@dataclass(frozen=True, slots=True)
class Block:
    page: str
    line: int
    language: str
    word: str
    """What follows the language: a file's name, `background`, or nothing."""
    text: str

    @property
    def is_file(self) -> bool:
        return "." in self.word

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page that people read."""
    found = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"), *ROOT.glob("*.md")]
    return sorted(page for page in found if page.name != "CHANGELOG.md")


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in _FENCE.finditer(text):
        language, _, word = found["info"].strip().partition(" ")
        line = text.count("\n", 0, found.start()) + 1
        yield Block(str(page.relative_to(ROOT)), line, language, word.strip(), found["text"])


def commands(block: Block) -> Iterator[str]:
    """The command lines of a block, continued lines joined; of a console block those after `$ `."""
    lines = re.sub(r"\\\n\s*", " ", block.text).splitlines()
    for line in lines:
        if block.language == "console":
            if line.startswith("$ "):
                yield line[2:].strip()
        elif line.strip() and not line.startswith("#"):
            yield line.strip()
