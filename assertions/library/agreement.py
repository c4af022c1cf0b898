"""Answers against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from assertions.api import assertion, consistency
from assertions.core.definition import Assertion, On
from assertions.core.observation import canonical
from assertions.core.registry import REGISTRY, Registry
from assertions.core.severity import Abstain, Severity
from assertions.core.window import HORIZON_SECONDS, Window

OTHERS_MIN: Final = 2


def contradiction(
    on: On,
    *,
    entity: Callable[[Any], Any],
    says: Callable[[Any], Mapping[str, Any]],
    within: float = HORIZON_SECONDS,
    name: str = "contradiction",
    registry: Registry = REGISTRY,
    **options: Any,
) -> Assertion:
    """Two requests get different answers about one thing. Both are flagged, or the minority, with a correction.

    entity   what an item is about; None: nothing that can be compared
    says     attribute → value; leave out what an item does not say
    """
    return consistency(on, name=name, id=entity, attrs=says, within=within, registry=registry, **options)


def confidence_without_agreement(
    on: On,
    *,
    question: Callable[[Any], Any],
    answer: Callable[[Any], Any],
    confidence: Callable[[Any], float],
    name: str = "confidence_without_agreement",
    sure: float = 0.9,
    registry: Registry = REGISTRY,
    **options: Any,
) -> Assertion:
    """The model is sure of an answer that it does not give to the same question at other times.

    Such errors rank low for selectors that ask where the model is unsure. Abstains below two other answers.
    question     what makes two items the same question
    confidence   from 0 to 1; `sure` and above is judged
    """

    def judge(value: Any, recent: Window[Any]) -> Severity | type[Abstain]:
        if len(recent) < OTHERS_MIN:
            return Abstain
        certain = confidence(value)
        if certain < sure:
            return Severity(0)
        given = Counter(canonical(answer(other)) for other in recent)
        agreeing = given[canonical(answer(value))] / len(recent)
        return Severity(
            certain - agreeing if agreeing < 0.5 else 0,
            f"{certain:.0%} sure of what {agreeing:.0%} of {len(recent)} agree with",
        )

    return assertion(
        on, name=name, window=20, per=question, registry=registry, severity="confidence less agreement", **options
    )(judge)
