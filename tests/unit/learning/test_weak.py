"""Rules become weighted examples; conflicts are resolved by measured precision and always reported."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from learning.choosing import Flagged
from learning.errors import TrainingError
from learning.records import TrainingExample
from learning.weak import (
    PRIOR,
    Proposal,
    Trust,
    WeakLabels,
    own_predictions,
    resolve,
    trust,
    weak_examples,
)

CLASSES = ("a", "b", "c")
EXAMPLES: dict[str, JsonValue] = {str(i): {"n": i} for i in range(20)}


def test_precision_is_measured_on_what_people_said() -> None:
    said = [Proposal("1", "r", "a"), Proposal("2", "r", "a"), Proposal("3", "r", "b"), Proposal("9", "r", "a")]
    found = trust(said, {"1": "a", "2": "b", "3": "b"})
    assert found["r"] == Trust(right=2, judged=3)
    assert found["r"].precision == pytest.approx((PRIOR[0] + 2) / (sum(PRIOR) + 3))


def test_the_more_precise_rule_wins_and_the_conflict_is_reported() -> None:
    known = {"good": Trust(95, 100), "bad": Trust(30, 100)}
    out = resolve([Proposal("1", "good", "a"), Proposal("1", "bad", "b")], EXAMPLES, CLASSES, known)
    assert [(e.value, e.rules) for e in out.examples] == [("a", ("good",))]
    assert out.conflicts[0].said == {"a": ("good",), "b": ("bad",)}
    assert out.conflicts[0].value == "a"


def test_two_equal_rules_that_contradict_each_other_teach_nothing() -> None:
    out = resolve([Proposal("1", "x", "a"), Proposal("1", "y", "b")], EXAMPLES, ("a", "b"))
    assert out.examples == ()
    assert out.conflicts[0].value is None


def test_a_rule_that_is_mostly_wrong_teaches_nothing() -> None:
    out = resolve([Proposal("1", "x", "a")], EXAMPLES, CLASSES, {"x": Trust(3, 30)})
    assert (out.examples, out.doubtful) == ((), 1)


def test_agreement_weighs_more_than_one_word_and_people_more_than_rules() -> None:
    said = [Proposal("1", "x", "a"), Proposal("2", "x", "a"), Proposal("2", "y", "a"), Proposal("3", "x", "a")]
    out = resolve(said, EXAMPLES, CLASSES, labelled=["3"])
    weights = {e.id: e.weight for e in out.examples}
    assert set(weights) == {"1", "2"}
    assert 0 < weights["1"] < weights["2"] <= 1


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(EXAMPLES)), st.sampled_from("xyz"), st.sampled_from(CLASSES)), max_size=40
    ),
    st.dictionaries(st.sampled_from("xyz"), st.tuples(st.integers(0, 50), st.integers(0, 50))),
)
def test_order_does_not_matter_and_every_example_has_its_rules(
    words: list[tuple[str, str, str]], measured: dict[str, tuple[int, int]]
) -> None:
    said = [Proposal(*w) for w in {(e, r): (e, r, v) for e, r, v in words}.values()]
    known = {rule: Trust(min(a, a + b), a + b) for rule, (a, b) in measured.items()}
    one, other = resolve(said, EXAMPLES, CLASSES, known), resolve(said[::-1], EXAMPLES, CLASSES, known)
    assert one == other
    spoken = {p.example for p in said}
    reported = {e.id for e in one.examples} | {c.example for c in one.conflicts}
    assert len(spoken - reported) == one.doubtful
    for e in one.examples:
        assert set(e.rules) == {p.rule for p in said if p.example == e.id and p.value == e.value}
        assert 0 < e.weight <= 1


def test_own_predictions_fill_in_where_no_rule_spoke() -> None:
    rows = own_predictions({"1": "a", "2": "b"}, EXAMPLES, without=["1"], weight=0.3)
    assert [(r.id, r.value, r.weight, r.rules) for r in rows] == [("2", "b", 0.3, ("own-prediction",))]


def flagged(name: str, **proposals: str) -> Flagged:
    return Flagged(name, {"n": int(name)}, flags=(f"f{name}",), request=f"r{name}", entity="x", proposals=proposals)


def even(example: JsonValue) -> str | None:
    assert isinstance(example, dict)
    return "a" if example["n"] % 2 == 0 else None  # type: ignore[operator]


def test_flags_and_functions_speak_of_what_nobody_labelled() -> None:
    people = [TrainingExample(id=str(i), example={"n": i}, value="a" if i % 2 == 0 else "b") for i in range(10)]
    found = [flagged("3", odd="c"), flagged("12"), flagged("13", odd="a"), flagged("14", odd="b"), flagged("15")]
    made = weak_examples(WeakLabels({"even": even}), found, CLASSES, people, without=["12"])
    assert made.trusted == {"even": Trust(5, 5), "odd": Trust(0, 1)}
    assert [(e.id, e.value, e.rules, e.labels) for e in made.examples] == [("14", "a", ("even",), ())]
    assert [(e.flags, e.request, e.entity) for e in made.examples] == [(("f14",), "r14", "x")]
    assert [(c.example, c.value) for c in made.conflicts] == [("14", "a")]
    assert made.doubtful == 1, "of 13 only a rule speaks that was wrong on 3"


def test_a_class_that_the_model_does_not_have_is_passed_over_in_flags_and_told_in_functions() -> None:
    assert weak_examples(WeakLabels(), [flagged("1", odd="z")], CLASSES, []).examples == ()
    with pytest.raises(TrainingError, match="'wrong'") as caught:
        weak_examples(WeakLabels({"wrong": lambda example: "z"}), [flagged("1")], CLASSES, [])
    assert caught.value.code == "learning.weak.class"
