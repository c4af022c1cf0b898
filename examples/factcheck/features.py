"""What the verifier sees of a claim and its evidence: a few numbers between -1 and 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from rapidfuzz import fuzz

from examples.factcheck.lookup import number
from examples.factcheck.models import Evidence
from examples.factcheck.tables import NUMERIC, plain

FEATURES: Final = ("margin", "same", "ratio", "overlap", "last_word", "numeric", "close")

# The log-probabilities of an engine end at its list of alternatives; what is not in the list counts as this.
ABSENT_LOGPROB: Final = -15.0
# Past this the model is sure; the rest of the scale says nothing more.
MARGIN_MAX: Final = 8.0


def margin(alternatives: Mapping[str, float]) -> float:
    """Log-probability of "yes" minus that of "no", from the alternatives of the answer's first token.

    Each is the most likely of its spellings (" yes", "Yes"). Both absent: 0.
    """
    best = {"yes": ABSENT_LOGPROB, "no": ABSENT_LOGPROB}
    for token, logprob in alternatives.items():
        word = token.strip().casefold()
        if word in best:
            best[word] = max(best[word], logprob)
    return best["yes"] - best["no"]


def features(evidence: Evidence, answer_margin: float) -> dict[str, float]:
    """FEATURES of a claim whose evidence has facts.

    margin     the model's, scaled to [-1, 1]
    same       1 if what the claim says is a fact, letter by letter after normalising
    ratio      edit similarity with the closest fact, 0 to 1
    overlap    similarity of the shared words with the closest fact, 0 to 1
    last_word  1 if the last word of a fact is that of the claim: "Thai baht" and "Baht"
    numeric    1 if the relation is a number; the four above are 0 then, since digits have no likeness
    close      of numbers: 1 if equal, 0.5 if one is 1.35 times the other, falling to 0
    Raises     ValueError without a triple or facts.
    """
    if evidence.triple is None or not evidence.facts:
        raise ValueError("a claim without facts has no features: its verdict is unknown")
    said = evidence.triple.object
    found = dict.fromkeys(FEATURES, 0.0)
    found["margin"] = max(-MARGIN_MAX, min(MARGIN_MAX, answer_margin)) / MARGIN_MAX
    if evidence.triple.relation in NUMERIC:
        found["numeric"] = 1.0
        found["close"] = max((_closeness(said, fact) for fact in evidence.facts), default=0.0)
        return found
    mine = plain(said)
    theirs = [plain(fact) for fact in evidence.facts]
    found["same"] = float(mine in theirs)
    found["ratio"] = max(fuzz.ratio(mine, fact) for fact in theirs) / 100
    found["overlap"] = max(fuzz.token_set_ratio(mine, fact) for fact in theirs) / 100
    found["last_word"] = float(any(mine.split()[-1] == fact.split()[-1] for fact in theirs))
    return found


def row(values: Mapping[str, float]) -> Sequence[float]:
    """In the order of FEATURES."""
    return [values[name] for name in FEATURES]


def _closeness(said: str, fact: str) -> float:
    mine, theirs = number(said), number(fact)
    if not mine or not theirs:
        return 0.0
    return math.exp(-abs(math.log(mine / theirs)) * math.log(2) / math.log(1.35))
