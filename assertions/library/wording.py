"""How an answer is worded: refusals, languages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from assertions.api import assertion
from assertions.core.definition import Assertion, On
from assertions.core.registry import REGISTRY, Registry
from assertions.core.severity import Severity
from assertions.library import checks
from assertions.library.reading import reader


def refusal(
    on: On,
    *,
    text: Callable[[Any], str] | None = None,
    name: str = "refusal",
    early: bool = True,
    registry: Registry = REGISTRY,
    **options: Any,
) -> Assertion:
    """The model declines instead of answering. Judges a text while it is written.

    text   finds the text in the stage's value; default: the value itself, or its `text`
    """
    read = reader(text)

    def judge(value: Any) -> Severity:
        return Severity(checks.refused(read(value)), "declines instead of answering")

    return assertion(
        on, name=name, early=early, registry=registry, severity="1 at the beginning, 0.5 later in the text", **options
    )(judge)


def language_switch(
    on: On,
    *,
    text: Callable[[Any], str] | None = None,
    expected: str | None = None,
    name: str = "language_switch",
    registry: Registry = REGISTRY,
    **options: Any,
) -> Assertion:
    """A passage is in another language than the text began in, or than `expected` ("en", "de", "fr", "es", "it", "pt",
    "nl", or a script as "cyrillic"). Weak on texts of fewer than eight words and on names: it then says nothing."""
    read = reader(text)

    def judge(value: Any) -> Severity:
        found = checks.switched(read(value), expected)
        return Severity(0) if found is None else Severity(1, f"changes from {found[0]} to {found[1]}")

    return assertion(on, name=name, registry=registry, severity="1: changed", **options)(judge)
