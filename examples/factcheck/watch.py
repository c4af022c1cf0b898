"""Mistakes of the verifier that can be seen without knowing the truth.

Run them with `descant assertions run examples.factcheck.watch`. What they flag is what people label, and what the
verifier learns from (`examples.factcheck.recipe`). The checks look at what the verifier saw and said, so that a gate
can run them over recorded traffic with another version's word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from assertions import assertion
from examples.factcheck.models import Verdict
from examples.factcheck.pipeline import verdict

CLOSE: Final = 0.8
"""Numbers within about a tenth of each other (examples.factcheck.features)."""
FAR: Final = 0.45
"""Numbers of which one is more than 1.4 times the other; words that share less than half of their letters."""


def matches(features: Mapping[str, float]) -> bool:
    """What the claim says is what a table says, or as good as."""
    if features["numeric"]:
        return features["close"] >= CLOSE
    return features["same"] == 1.0


def differs(features: Mapping[str, float]) -> bool:
    """What the claim says is like nothing that the tables say."""
    if features["numeric"]:
        return features["close"] < FAR
    return max(features["ratio"], features["overlap"], features["last_word"]) < FAR


def refutes(features: Mapping[str, float], said: str) -> float:
    return float(said == "refuted" and matches(features))


def supports(features: Mapping[str, float], said: str) -> float:
    return float(said == "supported" and differs(features))


def disagrees(features: Mapping[str, float], said: str) -> float:
    return abs(features["margin"]) * ((features["margin"] > 0) != (said == "supported"))


@assertion(on=verdict, severity="the verifier's confidence; higher is worse")
def refutes_a_match(judged: Verdict) -> float:
    """It calls wrong what a table says word for word, or a number within a tenth of the table's."""
    return judged.confidence * refutes(judged.features, judged.label) if judged.features else 0.0


@assertion(on=verdict, severity="the verifier's confidence; higher is worse")
def supports_a_difference(judged: Verdict) -> float:
    """It calls right what is like no fact of the tables."""
    return judged.confidence * supports(judged.features, judged.label) if judged.features else 0.0


@assertion(on=verdict, severity="how sure the language model is of the other answer, 0 to 1; higher is worse")
def the_model_says_otherwise(judged: Verdict) -> float:
    """The language model, asked yes or no about the same evidence, contradicts the verifier."""
    return disagrees(judged.features, judged.label) if judged.features else 0.0
