"""Finding the text in whatever a stage gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def reader(given: Callable[[Any], str] | None) -> Callable[[Any], str]:
    """`given`, or: the value if it is text, its `text` otherwise. Raises TypeError when there is neither."""
    return given or _text


def _text(value: Any) -> str:
    found = value.get("text") if isinstance(value, Mapping) else getattr(value, "text", value)
    if not isinstance(found, str):
        raise TypeError("the stage's value is no text and has no `text`: give the assertion text=")
    return found
