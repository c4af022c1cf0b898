"""From flag records to a round of label requests, without Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from learning.choosing import Choosing, Flagged, a_round, due
from learning.gathering import Gathered
from learning.labels import Labels
from learning.records import Choice, Label

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CLASSES = ("x", "y")


def of_flag(flag: Mapping[str, Any]) -> Flagged | None:
    name = flag["subject"]
    if name == "other":
        return None
    return Flagged(name, {"n": int(name[1:])}, predicted="x", uncertainty=0.1, model_version=flag.get("version"))


CHOOSING = Choosing(of_flag, features=lambda example: [float(example["n"])], budget=4, points_min=10)  # type: ignore[index,arg-type,call-overload]


def flag(number: int, *, assertion: str = "odd", severity: float = 1.0, state: str = "standing") -> dict[str, Any]:
    about = {"state": state, "assertion": {"name": assertion}, "severity": severity}
    return {"id": f"{assertion}-{number}", "subject": f"e{number}", "data": about}


def gathered(*flags: dict[str, Any], choosing: Choosing = CHOOSING) -> Gathered:
    found = Gathered("m", choosing)
    for number, each in enumerate(flags):
        found.take(each, float(number))
    return found


def test_flags_of_one_example_are_one_point() -> None:
    found = gathered(flag(1, severity=2.0), flag(1, assertion="loud", severity=0.5), flag(1, severity=1.0))
    (point,) = found.examples.values()
    assert point.severities == {"odd": 2.0, "loud": 0.5}
    assert point.flags == ("odd-1", "loud-1")
    assert point.features == (1.0,)
    assert found.newest_at == 0.0, "only an example that was not known before ends the quiet"


def test_what_flags_propose_is_kept_by_assertion() -> None:
    def proposing(record: Mapping[str, Any]) -> Flagged | None:
        found = of_flag(record)
        return None if found is None else replace(found, proposed=record.get("says"))

    found = gathered(
        {**flag(1), "says": "y"}, flag(1, assertion="loud"), {**flag(1, assertion="shy"), "says": "x"}, flag(2),
        choosing=replace(CHOOSING, example=proposing),
    )  # fmt: skip
    assert [point.proposals for point in found.examples.values()] == [{"odd": "y", "shy": "x"}, {}]


@pytest.mark.parametrize(
    "useless",
    [
        flag(1, state="provisional"), flag(1, state="withdrawn"), flag(1, severity=0.0),
        flag(1, severity=float("nan")), flag(1, severity=float("inf")), {**flag(1), "subject": "other"},
    ],
)  # fmt: skip
def test_what_is_no_standing_flag_of_this_model_is_passed_over(useless: dict[str, Any]) -> None:
    found = gathered(useless)
    assert not found.examples
    assert not found.unusable


@pytest.mark.parametrize("broken", [{}, {"data": None}, {**flag(1), "subject": "eX"}, {**flag(1), "data": "?"}])
def test_a_flag_that_cannot_be_used_is_counted_and_the_others_go_on(broken: dict[str, Any]) -> None:
    found = gathered(broken, flag(2))
    assert list(found.examples) == ["e2"]
    assert found.unusable == 1


def test_flags_that_cannot_be_used_are_told_once_for_each_assertion_and_reason() -> None:
    with structlog.testing.capture_logs() as told:
        found = gathered(*[{**flag(n), "subject": "eX"} for n in range(500)], {}, {"data": None}, {"data": "?"})
    assert found.unusable == 503
    assert [(line["event"], line["reason"]) for line in told] == [
        ("flags cannot be used", reason) for reason in ("ValueError", "KeyError", "TypeError")
    ]


@pytest.mark.parametrize(
    ("unlabelled", "points", "quiet", "expected"),
    [
        (0, 0, 9e9, False), (0, 9, 0.0, False), (0, 10, 0.0, True), (0, 1, 3_600.0, True), (1, 10, 9e9, False),
        (0, 9, None, False), (0, 10, None, True),
    ],
)  # fmt: skip
def test_a_round_waits_for_points_and_for_labels(
    unlabelled: int, points: int, quiet: float | None, expected: bool
) -> None:
    assert due(CHOOSING, unlabelled=unlabelled, points=points, quiet_seconds=quiet) is expected


def a_next_round(labels: Labels, found: Gathered, before: Choice | None, current: int | None = None) -> Choice:
    choice, batch = a_round(CHOOSING, "m", CLASSES, found.examples.values(), labels, before, current, NOON)
    for request in batch:
        assert request.id not in labels.requests, "asked twice"
        labels.ask(request)
    return choice


def answer(labels: Labels, name: str, value: str) -> None:
    labels.say(
        Label(id=f"l-{name}", example=name, model="m", labeller="ann", value=value, labelled_at=NOON)
    )  # fmt: skip


def test_rounds_ask_for_new_examples_and_learn_from_each_label_once() -> None:
    labels, found = Labels(), gathered(*(flag(n) for n in range(20)))
    first = a_next_round(labels, found, None)
    assert (first.round, first.state, len(first.untaught)) == (1, None, 4)
    for name in first.untaught[:3]:
        answer(labels, name, "y")
    second = a_next_round(labels, found, first)
    assert second.state is not None
    assert second.state["wrong"] == [1, 1, 1]
    assert len(second.untaught) == 1 + 3, "one waits for its label, and the batch fills up what was left of the budget"
    found.take(flag(30, assertion="new"), 0.0)
    third = a_next_round(labels, found, second)
    assert third.assertions == ("odd", "new"), "an assertion that joins comes last"


def test_the_same_round_is_chosen_alike_by_any_process() -> None:
    found = gathered(*(flag(n, severity=1 + n % 3) for n in range(50)))
    again = gathered(*(flag(n, severity=1 + n % 3) for n in reversed(range(50))))
    first, second = (
        a_round(CHOOSING, "m", CLASSES, f.examples.values(), Labels(), None, None, NOON) for f in (found, again)
    )
    assert first == second


def test_what_an_older_version_was_flagged_for_waits_while_there_is_enough_of_the_current_one() -> None:
    old = [{**flag(n), "version": 1} for n in range(20)]
    new = [{**flag(n), "version": 2} for n in range(20, 24)]
    labels = Labels()
    choice = a_next_round(labels, gathered(*old, *new), None, current=2)
    assert {labels.requests[name].model_version for name in choice.untaught} == {2}
    few = gathered(*old, *new[:2])
    assert len(a_next_round(Labels(), few, None, current=2).untaught) == 4


def test_a_state_of_another_selector_is_not_used() -> None:
    labels, found = Labels(), gathered(*(flag(n) for n in range(20)))
    first = replace_selector(a_next_round(labels, found, None))
    for name in first.untaught:
        answer(labels, name, "x")
    assert a_next_round(labels, found, first).state is not None


def replace_selector(choice: Choice) -> Choice:
    return choice.model_copy(update={"selector": "bal", "state": {"selector": "bal", "round": 1, "labelled": []}})


def test_a_dismissed_request_waits_no_longer_and_is_not_asked_again() -> None:
    labels, found = Labels(), gathered(*(flag(n) for n in range(20)))
    first = a_next_round(labels, found, None)
    for name in first.untaught:
        labels.ask(labels.requests[name].model_copy(update={"dismissed": True}))
    assert not labels.pending("m")
    a_next_round(labels, found, first)


def test_without_features_it_chooses_as_well() -> None:
    plain = replace(CHOOSING, features=None)
    found = gathered(*(flag(n) for n in range(20)), choosing=plain)
    _, batch = a_round(plain, "m", CLASSES, found.examples.values(), Labels(), None, None, NOON)
    assert len(batch) == 4
