"""What a router knows of a prompt, and how much the prompt matters to its request."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fork:
    """The group of siblings that a prompt belongs to, as its stage instance sees it now."""

    size: int | None
    """How many siblings, once the fork has ended."""
    siblings: int
    """How many came so far."""
    unfinished: int
    """How many of them have no result yet; counted where the size is known."""
    mean_size: float
    """Mean size of the groups of this fork that were seen whole; 0 when none was."""


@dataclass(frozen=True, slots=True)
class PromptInfo:
    """One prompt to be placed. All of it is known before it is sent."""

    id: str
    """Unique among the prompts in flight: pipeline, request, stage and path."""
    request: str
    arrived: float
    """When the *request* was accepted, seconds since 1970; the engine's priority."""
    stage: str
    tokens: int
    """Prompt tokens, counted or estimated; at least 1."""
    blocks: tuple[int, ...]
    """Chained hashes of its full blocks (BlockHasher)."""
    block_tokens: float = 32.0
    """Tokens a block; where blocks are cut by bytes, bytes a block × the model's tokens per byte."""
    fork: Fork | None = None
    """None outside of any fork."""
    max_output: float = math.inf
    """The limit that was asked for; caps the expected output."""


def kappa(fork: Fork | None) -> float:
    """κ, the chance that a delay of this prompt delays its request, in (0, 1].

    Outside a fork every prompt is on the critical path. While the fork is open, more siblings follow and
    the last of them decides: 0.5 / max(mean group size, siblings so far). With the size known, one of the
    unfinished decides; 2 / unfinished rather than 1 / unfinished, because the slowest two decide the tail.
    ROUTING's simulations: 6 % of the mean and 13 % of the 99th percentile against κ = 1.
    """
    if fork is None:
        return 1.0
    if fork.size is None:
        return 0.5 / max(fork.mean_size, float(fork.siblings), 1.0)
    return min(1.0, 2.0 / max(fork.unfinished, 1))
