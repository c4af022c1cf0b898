"""The shape of an answer: loops, JSON, length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from assertions.api import assertion
from assertions.core.definition import Assertion, On
from assertions.core.registry import REGISTRY, Registry
from assertions.core.severity import Abstain, Severity
from assertions.core.window import Window
from assertions.library import checks
from assertions.library.reading import reader

# Fewer earlier lengths say nothing about what is usual.
LENGTHS_MIN: Final = 10
SURPRISE_MIN: Final = 4.0


def repetition(
    on: On,
    *,
    text: Callable[[Any], str] | None = None,
    name: str = "repetition",
    early: bool = True,
    registry: Registry = REGISTRY,
    **options: Any,
) -> Assertion:
    """The text ends in a loop: a passage three times over or more. Judges a text while it is written."""
    read = reader(text)

    def judge(value: Any) -> Severity:
        share = checks.repeats(read(value))
        return Severity(share, f"{share:.0%} of the text is a loop")

    return assertion(
        on, name=name, early=early, registry=registry, severity="share of the text that is the loop", **options
    )(judge)


def broken_json(
    on: On,
    *,
    text: Callable[[Any], str] | None = None,
    name: str = "broken_json",
    registry: Registry = REGISTRY,
    **options: Any,
) -> Assertion:
    """The text should be JSON and does not parse (a Markdown fence around it is allowed)."""
    read = reader(text)

    def judge(value: Any) -> Severity:
        fault = checks.json_fault(read(value))
        return Severity(0) if fault is None else Severity(1, f"not JSON: {fault}")

    return assertion(on, name=name, registry=registry, severity="1: does not parse", **options)(judge)


def length_anomaly(
    on: On,
    *,
    text: Callable[[Any], str] | None = None,
    per: Callable[[Any], Any] | None = None,
    name: str = "length_anomaly",
    registry: Registry = REGISTRY,
    **options: Any,
) -> Assertion:
    """A text is far longer or shorter than the last ones. Weak: unusual is often right; use it to find, not to block.

    per   compares only texts of one kind, as of one language or customer
    """
    read = reader(text)

    def judge(value: Any, recent: Window[Any]) -> Severity | type[Abstain]:
        if len(recent) < LENGTHS_MIN:
            return Abstain
        length = len(checks.words(read(value)))
        found = checks.surprise(length, [len(checks.words(read(earlier))) for earlier in recent])
        if found < SURPRISE_MIN:
            return Severity(0)
        return Severity(found / SURPRISE_MIN, f"{length} words, {found:.1f} deviations from the last {len(recent)}")

    return assertion(
        on,
        name=name,
        window=50,
        per=per,
        registry=registry,
        severity=f"robust deviations / {SURPRISE_MIN:g}",
        **options,
    )(judge)
