"""The whole loop without Kafka, on data whose truth is known: assertions flag, a selector chooses, labels come, a
version is trained and judged by the gate. For examples, and to see what a selector or an assertion is worth on one's
own data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning.gate import Answers, GatePolicy, judge
from learning.records import Verdict
from learning.select import observe, select

Array = NDArray[Any]
Severities = Callable[[Array, Array], Array]
"""(predicted classes, (points,); probabilities, (points, classes)) -> severities of the pool, (points, assertions)."""


@dataclass(frozen=True)
class Lesson:
    """Features are (points, features), truths are (points,) classes. The four parts share no entity."""

    start: tuple[Array, Array]
    """What the first version is trained on: small, and biased in some way."""
    pool: tuple[Array, Array]
    """Traffic; its truth is the oracle's, asked for the chosen points alone."""
    held_out: tuple[Array, Array]
    """The gate's."""
    exam: tuple[Array, Array]
    """What is reported; nothing is trained or promoted on it."""
    assertions: tuple[str, ...]
    severities: Severities
    model: Callable[[], Any]
    """An unfitted scikit-learn classifier with predict_proba."""
    gate: GatePolicy = field(default_factory=GatePolicy)


@dataclass(frozen=True)
class Standing:
    """Of what serves after a round."""

    labels: int
    verdict: Verdict | None
    """The gate's on this round's candidate; None before the first label."""
    accuracy: float
    """On the exam."""
    fires: Mapping[str, float]
    """By assertion, the share of the pool that it flags."""
    precision: Mapping[str, tuple[int, int]]
    """By assertion: (confirmed, judged) among the labels so far."""


def rehearse(lesson: Lesson, using: str, *, budget: int, rounds: int, seed: int) -> list[Standing]:
    """The start and each round. The candidate of a round serves from then on unless the gate holds it back: what it
    would ask a person is promoted, as a person who looks at the same figures would."""
    rng = np.random.default_rng(seed)
    rows, truth = lesson.pool
    serving = _Version(lesson, [])
    labelled: list[int] = []
    state = None
    counts = {name: [0, 0] for name in lesson.assertions}
    found = [serving.standing(0, None, counts)]
    for _ in range(rounds):
        given = (serving.severities, serving.doubt)
        more: dict[str, Any] = {"features": rows, "probabilities": serving.shares, "using": using}
        chosen = select(*given, budget, state, rng, **more)
        wrong = serving.said[chosen] != truth[chosen]
        state = observe(state, *given, chosen, wrong, **more)
        labelled.extend(chosen.tolist())
        for name, column in zip(lesson.assertions, serving.severities[chosen].T, strict=True):
            counts[name] = [counts[name][0] + int(wrong[column > 0].sum()), counts[name][1] + int((column > 0).sum())]
        candidate = _Version(lesson, labelled)
        verdict = judge(
            lesson.gate, lesson.held_out[1].tolist(), candidate.answers(), serving.answers(), np.random.default_rng(0)
        ).verdict
        if verdict is not Verdict.HOLD:
            serving = candidate
        found.append(serving.standing(len(labelled), verdict, counts))
    return found


class _Version:
    """One fitted model, and what it says of the pool."""

    def __init__(self, lesson: Lesson, labelled: Sequence[int]) -> None:
        rows = np.concatenate([lesson.start[0], lesson.pool[0][list(labelled)]])
        self._lesson = lesson
        self._model = lesson.model().fit(rows, np.concatenate([lesson.start[1], lesson.pool[1][list(labelled)]]))
        self.said = np.asarray(self._model.predict(lesson.pool[0]))
        self.shares = np.asarray(self._model.predict_proba(lesson.pool[0]))
        self.severities = lesson.severities(self.said, self.shares)
        self.fires = dict(zip(lesson.assertions, (self.severities > 0).mean(axis=0).tolist(), strict=True))

    @property
    def doubt(self) -> Array:
        """1 − margin; a model that has seen one class has no second best."""
        if self.shares.shape[1] < 2:
            return np.zeros(len(self.shares))
        best = np.sort(self.shares, axis=1)
        return np.asarray(1 - (best[:, -1] - best[:, -2]))

    def answers(self) -> Answers:
        return Answers(self._model.predict(self._lesson.held_out[0]).tolist(), self.fires)

    def standing(self, labels: int, verdict: Verdict | None, counts: Mapping[str, Sequence[int]]) -> Standing:
        accuracy = float(np.mean(self._model.predict(self._lesson.exam[0]) == self._lesson.exam[1]))
        precision = {name: (confirmed, judged) for name, (confirmed, judged) in counts.items()}
        return Standing(labels, verdict, accuracy, self.fires, precision)
