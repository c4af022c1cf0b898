"""Every code block of every page: Python runs and type-checks, commands could be typed, the rest parses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import PLAYED, ROOT, Block, blocks, commands, pages
from tests.docs.player import fits
from tests.docs.shell import problems

EVERY = [block for page in pages() for block in blocks(page)]
KNOWN = {"", "console", "json", "mermaid", "python", "sh", "text", "toml", "yaml"}


TYPED = [block for block in EVERY if block.language in {"", "sh", "console"} and block.page not in PLAYED]


def ids(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("block", EVERY, ids=ids)
def test_a_block_says_what_it_is_and_parses(block: Block) -> None:
    assert block.language in KNOWN
    match block.language:
        case "toml":
            tomllib.loads(block.text)
        case "json":
            json.loads(block.text)
        case "yaml":
            list(yaml.safe_load_all(block.text))
        case "python":
            compile(block.text, block.place, "exec")


@pytest.mark.parametrize("block", TYPED, ids=ids)
def test_every_command_could_be_typed(block: Block) -> None:
    lines = list(commands(block))
    if not block.language:  # README's blocks hold commands or what they print
        lines = [line for line in lines if line.split()[0] in {"descant", "docker", "make", "python"}]
    assert [problem for line in lines for problem in problems(line)] == []


PYTHON_PAGES = [
    page for page in pages() if any(block.language == "python" and not block.is_file for block in blocks(page))
]


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text(page_code(page))
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_python_of_all_pages_type_checks(tmp_path: Path) -> None:
    files = []
    for page in PYTHON_PAGES:
        files.append(tmp_path / f"{re.sub(r'[^a-z]', '_', str(page.relative_to(ROOT)).lower())}.py")
        files[-1].write_text(page_code(page))
    for block in EVERY:
        if block.language == "python" and block.is_file:
            files.append(tmp_path / Path(block.page).stem / block.word)
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            files[-1].write_text(block.text)
    # Errors in the pages alone: Descant's own code needs the project's settings, and a reader has it installed.
    options = ["--follow-imports=silent", "--ignore-missing-imports", "--check-untyped-defs"]
    for file in files:
        done = subprocess.run(
            ["mypy", *options, "--cache-dir", tmp_path / "cache", file],
            cwd=tmp_path,
            env={**os.environ, "MYPYPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{file.name}:\n{done.stdout}{done.stderr}"


def page_code(page: Path) -> str:
    return "\n\n".join(block.text for block in blocks(page) if block.language == "python" and not block.is_file)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), f"{target} leads nowhere"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{target}: no such heading"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "line",
    [
        "descant runn mine:checker",
        "descant run mine:checker --stages draft",
        "descant learn retrain x",
        "docker compose up --scale evidences=3",
        "make tests",
        "nonsense --now",
        "pip install 'descant[everything]'",
        "python -m benchmarks.nothing",
        "kubectl apply -k deploy/nowhere",
    ],
)
def test_a_command_that_cannot_be_typed_is_found(line: str) -> None:
    assert list(problems(line))


@pytest.mark.parametrize(
    ("expected", "said", "result"),
    [("a …", "a b c", True), ("a\n…\nd", "a\nb\nc\nd", True), ("a\nd", "a\nb\nd", False), ("x", "a", False)],
)
def test_an_ellipsis_stands_for_anything(expected: str, said: str, result: bool) -> None:
    assert fits(expected, said) == result


def test_the_plan_of_the_page_on_scaling_is_what_its_code_prints(tmp_path: Path) -> None:
    page = ROOT / "docs" / "scaling.md"
    (tmp_path / "page.py").write_text(page_code(page))
    printed = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"```text\n{printed.stdout}```" in page.read_text()
