"""The gate lets better models through, holds worse ones, and asks where it cannot know."""

from __future__ import annotations

import numpy as np
import pytest

from learning.errors import LeakageError, TrainingError
from learning.gate import Answers, GatePolicy, judge, refuse_leakage
from learning.intervals import paired_gain, wilson
from learning.records import TrainingExample, TrainingSet, Verdict
from learning.trigger import Due, Seen, TriggerPolicy, due, refuse_unfit


def answers(right: int, of: int = 200, **more: object) -> Answers:
    """Truth is a, b, a, b, ...; the first `right` are answered well."""
    truth = ["a", "b"] * (of // 2)
    return Answers([t if i < right else {"a": "b", "b": "a"}[t] for i, t in enumerate(truth)], **more)  # type: ignore[arg-type]


def verdict(candidate: Answers, current: Answers | None, policy: GatePolicy | None = None) -> Verdict:
    truth = ["a", "b"] * (len(candidate.predicted) // 2)
    return judge(policy or GatePolicy(), truth, candidate, current, np.random.default_rng(0)).verdict


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(120, 160, Verdict.PROMOTE), (160, 120, Verdict.HOLD), (150, 151, Verdict.ASK), (150, 144, Verdict.HOLD)],
)
def test_accuracy_decides(before: int, after: int, expected: Verdict) -> None:
    assert verdict(answers(after), answers(before)) is expected


def test_firing_rates_count() -> None:
    current = answers(150, firings={"x": 0.20})
    assert verdict(answers(150, firings={"x": 0.10}), current) is Verdict.PROMOTE
    assert verdict(answers(190, firings={"x": 0.30}), current) is Verdict.HOLD
    assert verdict(answers(190, firings={"x": 0.20, "new": 0.2}), current) is Verdict.HOLD


def test_a_class_may_not_pay_for_another() -> None:
    truth = ["a"] * 150 + ["b"] * 50
    current = Answers(["a"] * 100 + ["b"] * 50 + ["b"] * 50)
    candidate = Answers(["a"] * 150 + ["a"] * 30 + ["b"] * 20)
    result = judge(GatePolicy(), truth, candidate, current, np.random.default_rng(0))
    assert result.gain is not None
    assert result.gain.low > -0.02
    assert result.verdict is Verdict.HOLD
    assert any("recall of 'b'" in reason for reason in result.reasons)


def test_the_first_version_must_beat_the_commonest_class() -> None:
    assert verdict(answers(180), None) is Verdict.PROMOTE
    assert verdict(answers(104), None) is Verdict.ASK


def test_few_held_out_examples_and_slowness() -> None:
    assert verdict(answers(20, of=20), None) is Verdict.ASK
    slow = GatePolicy(latency_ms_max=5.0)
    assert verdict(answers(180, latency_ms=9.0), answers(120), slow) is Verdict.HOLD


def test_noise_alone_is_rarely_promoted() -> None:
    rng = np.random.default_rng(1)
    truth = ["a"] * 200
    promoted = 0
    for _ in range(200):
        current, candidate = (Answers(["a" if x else "b" for x in rng.random(200) < 0.8]) for _ in range(2))
        promoted += judge(GatePolicy(), truth, candidate, current, rng).verdict is Verdict.PROMOTE
    assert promoted <= 12, "a gain is promoted when its 95 % interval is above 0: about 2.5 % of level candidates"


def example(name: str, value: str = "a", **more: str) -> TrainingExample:
    return TrainingExample(id=name, example=None, value=value, **more)


@pytest.mark.parametrize(
    "held_out", [example("1"), example("9", request="r1"), example("9", entity="x")], ids=["id", "request", "entity"]
)
def test_leakage_is_refused(held_out: TrainingExample) -> None:
    trained = [example("1", request="r1", entity="x"), example("2")]
    with pytest.raises(LeakageError):
        refuse_leakage(trained, [example("8"), held_out])
    refuse_leakage(trained, [example("8", request="r8", entity="y"), example("7")])


def test_wilson_is_honest_at_the_ends() -> None:
    assert wilson(0, 0).high == 1.0
    assert wilson(10, 10).low == pytest.approx(0.7225, abs=1e-3)
    assert wilson(0, 10).high == pytest.approx(0.2775, abs=1e-3)


def test_a_paired_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        before, after = rng.random(150) < 0.7, rng.random(150) < 0.8
        interval = paired_gain(before, after, rng)
        covered += interval.low <= 0.1 <= interval.high
    assert 0.90 <= covered / 300 <= 0.985


POLICY = TriggerPolicy(new_labels=10, new_flags=50, cool_down_seconds=60, every_seconds=3600)


@pytest.mark.parametrize(
    ("seen", "now", "expected"),
    [
        (Seen(9, 0, None), 0, Due.SCHEDULE),  # never trained, and there is a label: the schedule has been due for ever
        (Seen(0, 0, None), 0, Due.NO),
        (Seen(10, 0, None), 0, Due.LABELS),
        (Seen(30, 20, 100.0), 130, Due.NO),  # cool-down
        (Seen(30, 20, 100.0), 161, Due.LABELS),
        (Seen(10, 20, 100.0), 161, Due.LABELS),  # ten were withdrawn
        (Seen(21, 20, 100.0), 161, Due.NO),
        (Seen(21, 20, 100.0), 3701, Due.SCHEDULE),
        (Seen(20, 20, 100.0), 9999, Due.NO),
        (Seen(20, 20, 100.0, asked=True), 101, Due.BY_HAND),
        (Seen(21, 20, 100.0, flags=50), 161, Due.FLAGS),
        (Seen(21, 20, 100.0, flags=49), 161, Due.NO),
        (Seen(20, 20, 100.0, flags=50), 161, Due.NO),  # it would train on what it was trained on
        (Seen(21, 20, 100.0, flags=50), 130, Due.NO),  # cool-down
        (Seen(20, 20, 100.0, flags=50, flags_teach=True), 161, Due.FLAGS),
        (Seen(20, 20, 100.0, flags=1, flags_teach=True), 3701, Due.SCHEDULE),
    ],
)
def test_when_a_job_is_due(seen: Seen, now: float, expected: Due) -> None:
    assert due(POLICY, seen, now) is expected


def test_without_being_asked_to_no_flag_starts_a_job() -> None:
    assert due(TriggerPolicy(), Seen(1, 0, None, flags=10_000), 0) is Due.NO


def test_an_empty_or_one_class_set_is_never_fitted() -> None:
    for examples, code in (
        ((), "learning.training.empty"),
        ((example("1"), example("2")), "learning.training.one-class"),
    ):
        with pytest.raises(TrainingError) as caught:
            refuse_unfit(TriggerPolicy(), TrainingSet(model="m", examples=examples))
        assert caught.value.code == code
    refuse_unfit(TriggerPolicy(), TrainingSet(model="m", examples=(example("1"), example("2", "b"))))
