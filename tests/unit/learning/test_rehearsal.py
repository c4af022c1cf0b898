"""The loop without Kafka: a model that starts blind on one side learns, and a harmful candidate is held back."""

from __future__ import annotations

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from learning.records import Verdict
from learning.rehearsal import Array, Lesson, rehearse


def lesson(model: object = None) -> Lesson:
    """Classes lie left and right of 0 on the second axis; the start has seen the first axis tell them apart."""
    rng = np.random.default_rng(0)

    def part(size: int) -> tuple[Array, Array]:
        rows = rng.normal(size=(size, 2))
        return rows, np.where(rows[:, 1] > 0, "up", "down")

    start = np.array([[-2.0, 0.0], [-1.0, 0.1], [1.0, -0.1], [2.0, 0.0]])
    pool = part(300)

    def severities(said: Array, shares: Array) -> Array:
        return np.column_stack([(said == "down") * np.maximum(0, pool[0][:, 1] - 0.5), np.zeros(len(said))])

    return Lesson(
        (start, np.array(["down", "down", "up", "up"])), pool, part(200), part(200), ("too_high", "silent"), severities,
        (lambda: model) if model is not None else LogisticRegression,
    )  # fmt: skip


def test_it_learns_from_flags_and_the_assertion_fires_less() -> None:
    course = rehearse(lesson(), "error-seeking", budget=10, rounds=4, seed=0)
    assert [s.labels for s in course] == [0, 10, 20, 30, 40]
    assert course[-1].accuracy > course[0].accuracy + 0.2
    assert course[-1].fires["too_high"] < course[0].fires["too_high"] / 2
    confirmed, judged = course[-1].precision["too_high"]
    assert confirmed == judged > 0, "what is flagged lies surely on the other side"
    assert course[-1].precision["silent"] == (0, 0)
    assert course == rehearse(lesson(), "error-seeking", budget=10, rounds=4, seed=0)


def test_a_version_that_is_no_better_changes_nothing() -> None:
    course = rehearse(
        lesson(DummyClassifier(strategy="constant", constant="up")), "random", budget=10, rounds=2, seed=0
    )
    assert len({s.accuracy for s in course}) == 1
    assert Verdict.PROMOTE not in {s.verdict for s in course}
