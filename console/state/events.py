"""What the gateway streams of a request: one model an event, which are also its OpenAPI schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Path = tuple[int, ...]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Opened(_Event):
    """First event of each request: what was asked."""

    type: Literal["request"] = "request"
    id: str
    input: Any = None
    """None where its record has not been seen."""
    opened_at: float
    """Seconds since 1970, when the console first saw it."""


class TextEvent(_Event):
    """Tokens of a model stage. Position 0 starts the text of this stage and path anew: another run writes it."""

    type: Literal["text"] = "text"
    stage: str
    path: Path
    position: int
    """Index of its first token."""
    text: str
    run: str
    at: float
    """Seconds since the request was opened."""


class TextEndEvent(_Event):
    type: Literal["text-end"] = "text-end"
    stage: str
    path: Path
    tokens: int
    run: str
    at: float


class ItemEvent(_Event):
    """A stage's output. It replaces what the same stage and path had before."""

    type: Literal["item"] = "item"
    stage: str
    path: Path
    value: Any
    run: str
    at: float


class DroppedEvent(_Event):
    """The stage filtered this item out."""

    type: Literal["dropped"] = "dropped"
    stage: str
    path: Path
    run: str
    at: float


class FailedEvent(_Event):
    """An error stands in place of this item."""

    type: Literal["failed"] = "failed"
    stage: str
    path: Path
    code: str
    message: str
    run: str
    at: float


class GoneEvent(_Event):
    """What this stage wrote at this path is void: it was made from a run that another one has replaced."""

    type: Literal["gone"] = "gone"
    stage: str
    path: Path


class ErrorBody(_Event):
    code: str
    message: str
    stage: str = ""


class AnswerEvent(_Event):
    """The one answer, and the last event: `value`, or `error`."""

    type: Literal["answer"] = "answer"
    value: Any = None
    error: ErrorBody | None = None
    at: float


NodeEvent = TextEvent | TextEndEvent | ItemEvent | DroppedEvent | FailedEvent
RequestEvent = Annotated[Opened | NodeEvent | GoneEvent | AnswerEvent, Field(discriminator="type")]


class Summary(BaseModel):
    """One line of the list of requests."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    id: str
    state: Literal["running", "answered", "failed", "lost"]
    """`lost`: its deadline has passed and no answer was seen."""
    title: str
    """The first words of what was asked."""
    opened_at: float
    seconds: float | None = None
    """Until its answer."""
    items: int = 0
    texts: int = 0
