"""Labels fold to the same state whatever comes twice or in which order, and every wrong one is named."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.errors import LabelError
from learning.labels import Labels, precision
from learning.records import JOBS, JobRecord, Label, LabelRequest, Phase
from learning.view import Learned

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def request(name: str = "e1", **more: object) -> LabelRequest:
    return LabelRequest.model_validate(
        {"id": name, "model": "m", "example": {"t": name}, "classes": ("a", "b", "c"), "requested_at": NOON, **more}
    )


def label(
    name: str, value: str | None, *, by: str = "ann", example: str = "e1", minutes: int = 0, **more: object
) -> Label:
    return Label.model_validate(
        {"id": name, "example": example, "model": "m", "labeller": by, "value": value,
         "labelled_at": NOON + timedelta(minutes=minutes), **more}
    )  # fmt: skip


def folded(*labels: Label) -> Labels:
    state = Labels()
    state.ask(request())
    for said in labels:
        state.say(said)
    return state


def test_the_latest_of_a_labeller_counts_in_any_order() -> None:
    said = [label("1", "a"), label("2", "b", minutes=1), label("3", "c", by="bob")]
    for order in itertools.permutations(said):
        opinion = folded(*order).opinion("e1")
        assert {(one.labeller, one.value) for one in opinion.labels} == {("ann", "b"), ("bob", "c")}
        assert opinion.disagrees
        assert opinion.value is None


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["ann", "bob", "eve"]), st.integers(0, 5)), max_size=8)
)
def test_a_record_that_comes_twice_changes_nothing(said: list[tuple[str, str, int]]) -> None:
    labels = [label(str(i), v, by=by, minutes=m) for i, (v, by, m) in enumerate(said)]
    once, twice = folded(*labels), folded(*labels, *reversed(labels))
    assert once.opinion("e1") == twice.opinion("e1")
    assert once.count("m") == twice.count("m") <= 3


def test_a_withdrawn_label_is_gone_and_the_example_waits_again() -> None:
    state = folded(label("1", "a"), label("2", None, minutes=1, withdrawn=True, supersedes="1"))
    assert state.count("m") == 0
    assert [r.id for r in state.pending()] == ["e1"]
    assert state.training_set("m").examples == ()


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (label("1", "purple"), "learning.label.wrong-class"),
        (label("1", None), "learning.label.value"),
        (label("1", "a", withdrawn=True), "learning.label.value"),
        (label("1", None, withdrawn=True), "learning.label.nothing-to-withdraw"),
        (label("1", "a").model_copy(update={"model": "other"}), "learning.label.wrong-model"),
    ],
)
def test_a_label_that_cannot_be_is_refused_and_changes_nothing(wrong: Label, code: str) -> None:
    state = folded()
    with pytest.raises(LabelError) as caught:
        state.say(wrong)
    assert caught.value.code == code
    assert state.opinion("e1").labels == ()
    assert state.say(label("1", "a")), "its id is not used up"


def test_a_label_before_its_request_waits_and_one_without_is_listed() -> None:
    state = Labels()
    state.say(label("1", "a"))
    assert state.unknown() == ["e1"]
    assert state.training_set("m").examples == ()
    state.ask(request())
    assert state.unknown() == []
    assert len(state.training_set("m").examples) == 1


def test_a_snapshot_names_labels_flags_and_disagreements() -> None:
    state = folded(label("1", "a"), label("2", "a", by="bob"), label("3", "b", by="eve"))
    state.ask(request("e2", flags=("f2",), request="r2", entity="x"))
    state.ask(request("e3"))
    state.say(label("4", "b", example="e2"))
    state.say(label("5", "a", example="e3"))
    state.say(label("6", "b", example="e3", by="bob"))
    snapshot = state.training_set("m")
    first, second = snapshot.examples
    assert (first.value, first.labels) == ("a", ("1", "2"))
    assert first.weight == pytest.approx(2 / 3)
    assert (second.flags, second.request, second.entity) == (("f2",), "r2", "x")
    assert snapshot.disagreements == ("e3",)
    assert snapshot.digest == state.training_set("m").digest
    state.say(label("7", "a", example="e3", by="eve"))
    assert snapshot.digest != state.training_set("m").digest


def test_precision_counts_confirmed_flags_per_assertion() -> None:
    state = Labels()
    for i, (value, fired) in enumerate([("a", {"x": 1.0}), ("b", {"x": 2.0, "y": 1.0}), ("b", {"y": 1.0})]):
        state.ask(request(f"e{i}", predicted="a", severities=fired))
        state.say(label(f"l{i}", value, example=f"e{i}"))
    state.ask(request("open", predicted="a", severities={"x": 1.0}))
    assert precision(state) == {"x": (1, 2), "y": (2, 2)}


def test_a_record_of_another_shape_is_told_without_its_content() -> None:
    learned = Learned()
    learned.fold("learning.labels", b"e1", b'{"id": "secret", "value": 7}')
    learned.fold("learning.jobs", b"m", b"\xff")
    assert [error.code for _, error in learned.refused] == ["learning.record", "learning.record"]
    assert not any("secret" in str(error) for _, error in learned.refused)
    assert {phase.value for phase in Phase} >= {"asked", "published", "failed"}


def test_a_request_by_hand_is_served_once_in_whatever_order_it_is_read() -> None:
    asked = JobRecord(model="m", job="a", phase=Phase.ASKED, at=NOON)
    its_job = JobRecord(model="m", job="a", phase=Phase.FAILED, at=NOON, served="a")
    next_job = JobRecord(model="m", job="b", phase=Phase.SNAPSHOT, at=NOON, served="a")
    for records in itertools.permutations([asked, its_job]), itertools.permutations([asked, next_job]):
        for order in records:
            learned = Learned()
            for record in order:
                learned.fold(JOBS, record.key.encode(), record.encoded())
            assert not learned.asked
    learned.fold(JOBS, b"m@asked", asked.model_copy(update={"job": "c"}).encoded())
    assert learned.asked["m"].job == "c"
