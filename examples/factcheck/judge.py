"""From evidence and the model's answer to a verdict, and from verdicts to the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from examples.factcheck.features import features, margin, row
from examples.factcheck.models import Claim, Evidence, Label, Report, Verdict
from examples.factcheck.verifier import Verifier

_MARKS: Final[dict[Label, str]] = {"supported": "✓", "refuted": "✗", "unknown": "?"}
# What a reader can take in beside a refuted claim; a country has up to 40 neighbours and languages.
FACTS_SHOWN: Final = 3


def judge(claim: Claim, evidence: Evidence, alternatives: Mapping[str, float], verifier: Verifier) -> Verdict:
    """`alternatives` are those of the first token of the model's answer, with their log-probabilities."""
    answer = margin(alternatives)
    if not evidence.facts:
        values, label, confidence = {}, "unknown", 0.0
    else:
        values = features(evidence, answer)
        true = verifier.probability(row(values))
        label, confidence = ("supported", true) if true >= 0.5 else ("refuted", 1.0 - true)
    return Verdict(
        sentence=claim.sentence,
        label=label,
        confidence=round(confidence, 4),
        evidence=evidence,
        margin=answer,
        features=values,
        verifier=verifier.version,
    )


def explained(verdict: Verdict) -> str:
    """The sentence with its verdict, for people: "✗ Its capital is La Paz. (capital: Sucre)"."""
    line = f"{_MARKS[verdict.label]} {verdict.sentence}"
    evidence = verdict.evidence
    if verdict.label == "refuted" and evidence.triple is not None:
        facts = ", ".join(evidence.facts[:FACTS_SHOWN])
        more = ", …" if len(evidence.facts) > FACTS_SHOWN else ""
        return f"{line} ({evidence.triple.relation}: {facts}{more})"
    return f"{line} ({evidence.reason})" if verdict.label == "unknown" and evidence.reason else line


def summarise(question: str, verdicts: Sequence[Verdict]) -> Report:
    """The report on a draft: `verdicts` in the order of its sentences; none if it held no whole sentence."""
    count = {label: sum(v.label == label for v in verdicts) for label in _MARKS}
    text = "\n".join(explained(v) for v in verdicts) or "The draft held no whole sentence to check."
    return Report(question=question, verdicts=tuple(verdicts), text=text, **count)
