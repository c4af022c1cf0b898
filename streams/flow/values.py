"""What stages hand to each other beside their own models: prompts, chunks of text, and what stands for a
lost item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Sampling(BaseModel):
    """How a text is generated; what is None is left to the @model stage, then to the worker."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_tokens: int | None = Field(default=None, ge=1, strict=True)
    """Most tokens in the text."""
    temperature: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """0: the most likely token each time."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Sample among the most likely tokens that together have this probability."""
    stop: tuple[Annotated[str, StringConstraints(min_length=1)], ...] | None = None
    """The text ends before the first of these."""
    logprobs: int | None = Field(default=None, ge=0, strict=True)
    """How many alternatives to report per token; 0: none."""
    seed: int | None = Field(default=None, strict=True)
    """Same seed, prompt and engine: same text, where the engine can promise it."""


class Prompt(Sampling):
    """What a @model stage returns: the rendered prompt; what is set here goes before the stage's options."""

    text: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text, as `Stream[Chunk]` gives it. Where one chunk ends says nothing: texts are re-cut
    on the way."""

    position: int
    """Index of its first token in the text."""
    text: str
    token_ids: tuple[int, ...] = ()
    """Empty for engines that report none."""
    logprobs: tuple[Mapping[str, float], ...] = ()
    """Per token: text of each reported alternative -> natural log-probability; empty unless asked for."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Returned (or yielded) in place of a value: the item is filtered out, and joins above it still
    complete."""


class Failed(BaseModel):
    """An item that ended in an error, as a stage with `on_error="pass"` gets it in place of the value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    """Stable and dotted; for branching."""
    stage: str
    """Where it went wrong first."""
    message: str
