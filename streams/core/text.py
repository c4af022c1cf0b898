"""One prompt run's text, as every reader of the log assembles it (PROTOCOL §5.5)."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.core.lineage import RunId
from streams.core.record import Envelope, Kind
from streams.errors import RecordError


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of tokens, as one record carried them."""

    position: int
    text: str
    token_ids: tuple[int, ...]
    tokens: int
    logprobs: tuple[Mapping[str, float], ...] = ()
    """Per token: reported alternatives -> natural log-probability."""


class Change(enum.Enum):
    NONE = enum.auto()
    GREW = enum.auto()
    RESTARTED = enum.auto()  # what was read before is void
    GAP = enum.auto()  # its writer lost a record, knows it, and goes on as another: ignored


@dataclass(slots=True)
class Text:
    """(cur, base, tokens, end): a function of the log order alone, the same at every reader."""

    cur: RunId | None = None
    base: RunId | None = None
    pieces: list[Piece] = field(default_factory=list)
    length: int = 0
    """Tokens."""
    end: int | None = None
    failed: bool = False
    """An error stands in place of its end."""

    def on(self, envelope: Envelope, piece: Piece | None) -> Change:
        """Take the next record of this prompt run. Raises RecordError when it is none that a writer makes."""
        w = envelope.w
        if w is None or envelope.base is None:
            raise RecordError("a text record has no writer", code="record.text")
        change = Change.GREW
        if self.cur is None or w > self.cur:
            if envelope.kind is Kind.FENCE:
                self.cur = w
                if self.base is None:
                    self.base = envelope.base
                return Change.NONE
            change = Change.RESTARTED if self.length or self.is_over else Change.GREW
            self.cur = self.base = w
            self.pieces, self.length, self.end, self.failed = [], 0, None, False
        elif w < self.cur or envelope.kind is Kind.FENCE:
            return Change.NONE
        if envelope.kind is Kind.ERROR:
            self.failed = True
            return change
        ignored = change if change is Change.RESTARTED else Change.GAP
        if envelope.kind is Kind.END:
            if envelope.total != self.length:
                return ignored
            self.end = envelope.total
            return change
        if piece is None:
            raise RecordError("a chunk has no tokens", code="record.text")
        if piece.position + piece.tokens <= self.length:
            return change if change is Change.RESTARTED else Change.NONE
        if piece.position != self.length:
            return ignored
        self.pieces.append(piece)
        self.length += piece.tokens
        return change

    @property
    def is_over(self) -> bool:
        return self.end is not None or self.failed

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(i for piece in self.pieces for i in piece.token_ids)


def encode_piece(piece: Piece) -> bytes:
    """The value of a chunk record."""
    body: dict[str, object] = {"text": piece.text, "ids": piece.token_ids}
    if len(piece.token_ids) != piece.tokens:
        body["tokens"] = piece.tokens
    if piece.logprobs:
        body["logprobs"] = piece.logprobs
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def decode_piece(position: int, value: bytes | None) -> Piece:
    """Raises RecordError, code `record.text`, when the value is not a chunk."""
    try:
        body = json.loads(value or b"")
        ids = tuple(map(int, body["ids"]))
        tokens = int(body.get("tokens", len(ids)))
        if tokens < 1 or not isinstance(body["text"], str):
            raise ValueError
        return Piece(position, body["text"], ids, tokens, tuple(body.get("logprobs", ())))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RecordError("the value of a chunk is not {text, ids}", code="record.text") from None
