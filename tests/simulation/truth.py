"""What the virtual functions and engines really computed: the checker's knowledge, independent of any lineage.

Every value in the log is the name of an entry here, so that what went into an answer can be followed to its roots.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from streams.core.lineage import Path, RunId, Serial
from streams.core.record import Envelope


@dataclass(slots=True, eq=False)
class Taken:
    """One thing that a function was given."""

    kind: str
    """item | tombstone | error"""
    path: Path
    value: bytes | None
    envelope: Envelope


@dataclass(slots=True, eq=False)
class Execution:
    """One call of a stage function."""

    number: int
    serial: Serial
    stage: str
    path: Path
    run: RunId
    step: int
    items: dict[str, list[Taken]] = field(default_factory=dict)
    """Parameter -> what was taken, in order."""
    tokens: dict[str, list[int]] = field(default_factory=dict)
    """Text parameter -> token ids, in order."""
    texts: dict[str, tuple[str, Path, str]] = field(default_factory=dict)
    """Text parameter -> (stage, path, error or '') of a text that was read to its end."""
    is_early: bool = False
    """It returned before its streams had ended, as functions may."""
    children: int = 0
    outcome: str = ""
    """value | ended | dropped | failed, once it returned"""

    def __repr__(self) -> str:
        path = ".".join(map(str, self.path)) or "()"
        return f"#{self.number} {self.stage}@{path} of {self.serial} run {self.run}"


@dataclass(slots=True, eq=False)
class Token:
    number: int
    parent: int
    """The token before it in its writer's context; -1: the prompt."""
    prompt: bytes | None


class Truth:
    def __init__(self) -> None:
        self.executions: list[Execution] = []
        self.values: list[tuple[Execution, int | None]] = []
        """What produced each value: the execution, and the child's index."""
        self.tokens: list[Token] = []
        self.endings: set[tuple[bytes | None, int]] = set()
        """(prompt, last token) after which an engine really ended."""
        self.requests: dict[bytes, str] = {}

    def execution(self, serial: Serial, stage: str, path: Path, run: RunId, step: int) -> Execution:
        found = Execution(len(self.executions), serial, stage, path, run, step)
        self.executions.append(found)
        return found

    def value(self, execution: Execution, child: int | None = None) -> bytes:
        self.values.append((execution, child))
        return b"v%d" % (len(self.values) - 1)

    def token(self, parent: int, prompt: bytes | None) -> int:
        self.tokens.append(Token(len(self.tokens), parent, prompt))
        return len(self.tokens) - 1

    def source(self, value: bytes | None) -> tuple[Execution, int | None] | None:
        """What computed a value; None of a request."""
        if value is None or not value.startswith(b"v"):
            return None
        return self.values[int(value[1:])]

    def chain(self, tokens: Iterable[int], prompt: bytes | None) -> str:
        """Why these tokens are not what one model wrote for this prompt, or ''."""
        parent = -1
        for number in tokens:
            token = self.tokens[number]
            if token.prompt != prompt:
                return f"token {number} answers prompt {token.prompt!r}, not {prompt!r}"
            if token.parent != parent:
                return f"token {number} was written after token {token.parent}, not after {parent}"
            parent = number
        if (prompt, parent) not in self.endings:
            return f"no engine ended this text after token {parent}"
        return ""
