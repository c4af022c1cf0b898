"""What looks wrong in the fact checker's streams: `descant assertions run examples.factcheck.assertions`.

Watch what they raise with `descant alerts`. None of them was tuned on the answers that it judges, and their precision
on your traffic is for you to measure: label some of what they flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from assertions import Abstain, Severity, assertion, library
from examples.factcheck.models import Verdict
from examples.factcheck.pipeline import draft, verdict
from examples.factcheck.tables import NUMERIC

SINGLE_VALUED: Final = frozenset({"continent", "capital", "currency", "calling code"} | NUMERIC)
"""A country borders several others and speaks several languages: two answers about those do not contradict."""

SURE: Final = 0.9
"""The verifier's probability from which a refuted claim is worth somebody's attention."""


def _entity(judged: Verdict) -> str | None:
    return judged.evidence.entity


def _says(judged: Verdict) -> Mapping[str, str]:
    triple = judged.evidence.triple
    return {triple.relation: triple.object} if triple and triple.relation in SINGLE_VALUED else {}


contradiction = library.contradiction(on=verdict, entity=_entity, says=_says)
"""Two drafts say different things about one country: asked twice, the model gave two capitals."""

refuses = library.refusal(on=draft)
loops = library.repetition(on=draft)


@assertion(on=verdict, severity="the verifier's confidence; higher is worse")
def wrong_and_sure(judged: Verdict) -> Severity | float:
    """The tables say otherwise, and the verifier has no doubt."""
    if judged.label != "refuted" or judged.confidence < SURE:
        return 0.0
    return Severity(judged.confidence, f"{judged.sentence} Known: {', '.join(judged.evidence.facts[:3])}")


@assertion(on=verdict, severity="how far the model's own yes or no is from the verdict, in nats; higher is worse")
def model_disagrees(judged: Verdict) -> float | type[Abstain]:
    """The language model, asked yes or no, contradicts what the verifier made of the same evidence."""
    if judged.label == "unknown":
        return Abstain
    agrees = (judged.margin > 0) == (judged.label == "supported")
    return 0.0 if agrees else abs(judged.margin)
