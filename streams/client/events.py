"""What a client sees of a request while it is under way, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from streams.core.lineage import Path, RunId
from streams.errors import DescantError


@dataclass(frozen=True, slots=True)
class Text:
    """Tokens of a @model stage, as they were generated. Provisional: `position` 0 under another run starts it anew."""

    stage: str
    path: Path
    position: int
    text: str
    run: RunId
    at: float
    """Seconds since the request was submitted."""


@dataclass(frozen=True, slots=True)
class TextEnd:
    stage: str
    path: Path
    tokens: int
    run: RunId
    at: float


@dataclass(frozen=True, slots=True)
class Item:
    """A stage's output. Provisional, like all that streams: a higher run at the same path replaces it."""

    stage: str
    path: Path
    value: Any
    run: RunId
    at: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The request's one answer; it is final. Either `value`, or `error`."""

    value: Any
    error: AnswerError | None
    at: float


Event: TypeAlias = Text | TextEnd | Item | Answer


class AnswerError(DescantError):
    """The request was answered with a typed error."""

    def __init__(self, code: str, stage: str, message: str, request_id: str) -> None:
        super().__init__(f"{message} (request {request_id})", code=code)
        self.stage = stage
        self.message = message
        self.request_id = request_id
