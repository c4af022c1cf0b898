"""Texts as a reader of the log must see them: PROTOCOL §5.5, written a second time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.chaos.wire import Path, Rec, Run

Lineage = tuple[Run | None, ...]
"""Names one prompt run of a node."""


@dataclass(slots=True)
class _Text:
    cur: Run | None = None
    text: str = ""
    length: int = 0
    whole: list[str] = field(default_factory=list)
    whole_length: int = 0


class Texts:
    """Every text that was whole at some place of the log, and whatever breaks a rule."""

    def __init__(self, records: Iterable[Rec]) -> None:
        """`records`: of model stages' topics, in log order."""
        self.faults: list[str] = []
        self._texts: dict[tuple[str, str, Path], dict[Lineage, _Text]] = {}
        for rec in records:
            if rec.w is not None:
                of_node = self._texts.setdefault((rec.serial, rec.stage, rec.path), {})
                self._take(rec, of_node.setdefault(rec.lin, _Text()))

    def _take(self, rec: Rec, text: _Text) -> None:
        w = rec.w
        if w is None:
            return
        if text.cur is None or w > text.cur:
            text.cur = w
            if rec.kind == "fence":
                return
            text.text, text.length = "", 0
        elif w < text.cur or rec.kind == "fence":
            return
        if rec.kind == "chunk":
            self._append(rec, text)
        elif rec.kind == "end":
            if int(rec.head("count")) != text.length:
                self.faults.append(f"a text ends at {rec.head('count')} tokens of {text.length}: {rec}")
            text.whole.append(text.text)
            text.whole_length = text.length

    def _append(self, rec: Rec, text: _Text) -> None:
        body, position = rec.body(), int(rec.head("pos"))
        if position != text.length:
            self.faults.append(f"a text goes on at token {position} after {text.length}: {rec}")
        text.text += body["text"]
        text.length += len(body["ids"])

    def whole(self, serial: str, stage: str, path: Path) -> Iterator[tuple[Lineage, str]]:
        """(lineage, text) of every text of this node that was whole once."""
        for lin, text in self._texts.get((serial, stage, path), {}).items():
            for whole in text.whole:
                yield lin, whole

    def length(self, serial: str, stage: str, path: Path) -> int:
        """Tokens of the last text of this node that was whole; 0 if none was."""
        found = self._texts.get((serial, stage, path), {})
        return max((text.whole_length for text in found.values()), default=0)
