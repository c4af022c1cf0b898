"""How the verifier learns: flags to examples, labels from the tables, what is held out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from assertions.core.flag import Flag
from examples.factcheck import oracle, recipe, watch
from examples.factcheck.corpus import is_held_out
from examples.factcheck.features import FEATURES, features
from examples.factcheck.learn import START_CLAIMS, taught
from examples.factcheck.lookup import look_up
from examples.factcheck.models import Triple, Verdict
from examples.factcheck.tables import find_country
from learning.gate import refuse_leakage
from learning.records import Label, LabelRequest, LabelSource

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def verdict(
    said: str, label: str, *, relation: str = "capital", entity: str = "Bolivia", verifier: str = "v3"
) -> Verdict:
    evidence = look_up(Triple(entity=entity, relation=relation, object=said))
    return Verdict(
        sentence=f"Its {relation} is {said}.", label=label, confidence=0.75, evidence=evidence, margin=1.0,
        features=features(evidence, 1.0) if evidence.facts else {}, verifier=verifier,
    )  # fmt: skip


def flag(of: Verdict, stages: tuple[str, ...] = ("verdict",)) -> dict[str, Any]:
    place = {
        "pipeline": "factcheck",
        "stages": list(stages),
        "request": "r1",
        "serial": "0:7",
        "path": "2",
        "run": "1-1",
    }
    return {"data": {"lineage": place, "example": {"verdict": of.model_dump(mode="json")}}}


def test_a_flag_on_a_verdict_is_an_example() -> None:
    found = recipe.of_flag(flag(verdict("La Paz", "refuted")))
    assert found is not None
    assert (found.id, found.predicted, found.uncertainty, found.request) == ("factcheck/0:7/2", "refuted", 0.5, "r1")
    assert (found.entity, found.model_version) == ("Bolivia", 3)
    assert set(recipe.seen(found.example)) == set(FEATURES)
    of_seed = recipe.of_flag(flag(verdict("La Paz", "refuted", verifier="0a1b2c3d")))
    assert of_seed is not None
    assert of_seed.model_version is None


def test_what_cannot_be_learned_from_is_left_alone() -> None:
    assert recipe.of_flag(flag(verdict("La Paz", "unknown", entity="Nowhere"))) is None
    assert recipe.of_flag(flag(verdict("La Paz", "refuted"), ("evidence", "verdict"))) is None
    assert recipe.of_record(verdict("x", "unknown", entity="Nowhere").model_dump(mode="json")) is None


def test_the_fields_that_are_read_are_those_of_a_real_flag() -> None:
    fields = Flag.model_json_schema()["$defs"]
    assert {"pipeline", "stages", "serial", "path", "request"} <= set(fields["LineageRef"]["properties"])
    assert {"state", "severity", "assertion", "example", "lineage"} <= set(fields["FlagDetail"]["properties"])


@pytest.mark.parametrize(
    ("said", "label", "fires"),
    [("Sucre", "refuted", {"refutes_a_match", "the_model_says_otherwise"}), ("Sucre", "supported", set()),
     ("Ulaanbaatar", "supported", {"supports_a_difference"}), ("Ulaanbaatar", "refuted", {"the_model_says_otherwise"})],
)  # fmt: skip
def test_mistakes_are_seen_without_the_truth(said: str, label: str, fires: set[str]) -> None:
    judged = verdict(said, label)
    example = recipe.shown(judged)
    assert {name for name, check in recipe.ASSERTIONS.items() if check(example, label) > 0} == fires
    live = (watch.refutes_a_match, watch.supports_a_difference, watch.the_model_says_otherwise)
    assert {a.name for a in live} == set(recipe.ASSERTIONS)


def test_the_oracle_labels_or_dismisses_and_says_who_it_is() -> None:
    def request(sentence: str) -> LabelRequest:
        example = {**recipe.shown(verdict("La Paz", "refuted")), "sentence": sentence}  # type: ignore[dict-item]
        return LabelRequest(id=sentence, model="verifier", example=example, classes=recipe.CLASSES, requested_at=NOW)

    right, wrong, odd = oracle.answers(
        [request("Its capital is Sucre."), request("Its capital is Lima."), request("It is lovely.")], NOW
    )
    assert isinstance(right, Label)
    assert isinstance(wrong, Label)
    assert (right.value, wrong.value, right.source) == ("supported", "refuted", LabelSource.ORACLE)
    assert isinstance(odd, LabelRequest)
    assert odd.dismissed


def test_start_gate_and_exam_share_no_country() -> None:
    gate, exam, start = recipe.gate_claims(), recipe.exam(), recipe.known(START_CLAIMS)
    assert min(len(gate), len(exam)) > 100
    refuse_leakage(start, [*gate, *exam])
    refuse_leakage(gate, exam)
    for example in [*gate, *exam]:
        country = find_country(example.entity or "")
        assert country is not None
        assert is_held_out(country.code)
    assert {e.value for e in start} == set(recipe.CLASSES)
    assert len(start) == 16


def test_the_demo_s_verifier_starts_from_populations_and_knows_no_name() -> None:
    first = taught.trainer.load(taught.trainer.fit(taught.start(), taught.classes, None))
    exam = recipe.exam()
    said = first.predict([e.example for e in exam])
    right = sum(s == e.value for s, e in zip(said, exam, strict=True)) / len(exam)
    assert 0.4 < right < 0.75
