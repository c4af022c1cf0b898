"""What a stage's function is told when it is asked again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_HINTS: Final[ContextVar[tuple[str, ...]]] = ContextVar("hints", default=())


def hints() -> tuple[str, ...]:
    """Inside a stage's function: what was said against its earlier outputs for this item, oldest first.

    Empty when it is called for the first time. An assertion with enforce="retry" gives one each time; a function that
    does not look is called again all the same.
    """
    return _HINTS.get()


@contextmanager
def told(given: Sequence[str]) -> Iterator[None]:
    """For the runtime: what `hints` gives within."""
    token = _HINTS.set(tuple(given))
    try:
        yield
    finally:
        _HINTS.reset(token)
