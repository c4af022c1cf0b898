"""The default selector: seek errors where labels say that they are, spread over what is unlike the labelled
points.

Where errors are rare, the estimate is sharp and labels go to them; where the model is wrong everywhere it is
flat, and being different decides. So nothing has to be switched. Measured against the bandit over arms, BAL
and uncertainty: docs/decisions/selector.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from learning.errors import SelectionError
from learning.select.candidates import Bools, Candidates, Floats, Indices
from learning.select.draws import draw, ranks
from learning.select.rows import scattered
from learning.select.strategy import State
from learning.select.unsure import unsure

REMEMBERED = 500
"""Labels that the state holds. At 0.7 a round older ones weigh nothing, and a state of 20 assertions stays
below 100 kB."""
CONSIDERED = 4_000
"""Points among which a batch is spread. More are first thinned in proportion to their weight, so that the cost of
spreading does not grow with the pool."""
_STEPS = 25


@dataclass(frozen=True)
class ErrorSeeking:
    """A Bayesian logistic model of "the prediction is wrong" given which assertions fire, how badly, and how
    unsure the model is; a batch drawn in proportion to that probability to a power × the squared distance to
    the nearest labelled or chosen point (k-means++ seeding). The prior says: a flag and doubt each make an
    error likelier; labels overrule it."""

    name: ClassVar[str] = "error-seeking"
    sharpness: float = 4.0
    """The power."""
    decay: float = 0.7
    """What a label counts for one round later: the model that made those errors is being replaced."""
    flag: tuple[float, float] = (0.5, 1.0)
    """Prior mean and precision of the log-odds that a flag adds."""
    doubt: tuple[float, float] = (0.4, 8.0)
    """The same per unit of depth, −ln of the share of points that are less sure: 0.7 at the middle, 4.6 in
    the last 1 %."""
    base: tuple[float, float] = (-1.0, 0.5)
    """The same of a point that is sure and not flagged."""

    def choose(self, points: Candidates, budget: int, known: State, rng: np.random.Generator) -> Indices:
        weight = np.where(points.open, self.likelihood(points, known) ** self.sharpness, 0.0)
        if points.features is None:
            return draw(weight, budget, rng)
        if np.count_nonzero(points.open) > max(CONSIDERED, budget):
            found = draw(weight, max(CONSIDERED, 2 * budget), rng)
            return np.asarray(found[scattered(points, found, np.ones(found.size), budget, rng)], np.intp)
        found = np.flatnonzero(points.open)
        return np.asarray(found[scattered(points, found, weight[found], budget, rng)], np.intp)

    def likelihood(self, points: Candidates, known: State) -> Floats:
        """(points,): how likely the model is wrong on each."""
        mean, precision = self._prior(points.assertions)
        if known:
            rows = _padded(known["seen"], points.assertions)
            age = int(known["round"]) - np.asarray(known["rounds"], float)
            mean = _fitted(rows, np.asarray(known["wrong"], float), self.decay**age, mean, precision)
        odds = np.full(points.points, mean[0])
        for coefficient, column in zip(mean[1:], _circumstances(points), strict=True):
            odds += coefficient * column
        return np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))))

    def learn(self, points: Candidates, chosen: Indices, wrong: Bools, known: State) -> State:
        now = int(known.get("round", 0)) + 1
        seen = np.round(np.column_stack([column[chosen] for column in _circumstances(points)]), 4).tolist()
        return {
            "seen": [*known.get("seen", []), *seen][-REMEMBERED:],
            "wrong": [*known.get("wrong", []), *wrong.astype(int).tolist()][-REMEMBERED:],
            "rounds": [*known.get("rounds", []), *[now] * len(seen)][-REMEMBERED:],
        }

    def _prior(self, assertions: int) -> tuple[Floats, Floats]:
        both = np.array([self.base, self.doubt, *[self.flag] * assertions])
        return both[:, 0], both[:, 1]


def _circumstances(points: Candidates) -> Iterator[Floats]:
    """(points,) each, one after another: depth in uncertainty, then per assertion 0 or, by its severity's rank, half
    to one and a half. Never held together: for 100,000 points and 20 assertions that would be 18 MB to write and read
    again."""
    doubt = unsure(points)
    depth = np.zeros(points.points)
    if doubt is not None and points.points:
        depth = -np.log1p(1 / points.points - ranks(doubt - doubt.min()))
    yield depth
    for j in range(points.assertions):
        severity = np.ascontiguousarray(points.severities[:, j])
        flagged = np.flatnonzero(severity)
        column = np.zeros(points.points)
        column[flagged] = 0.5 + ranks(severity[flagged])
        yield column


def _padded(seen: Sequence[Sequence[float]], assertions: int) -> Floats:
    """The remembered rows with their 1 in front; an assertion that joined since then did not fire."""
    rows = np.asarray(seen, float).reshape(len(seen), -1)
    missing = 1 + assertions - rows.shape[1] if rows.size else 0
    if missing < 0:
        raise SelectionError(f"the state knows {rows.shape[1] - 1} assertions and severities has {assertions} columns.")
    rows = rows if rows.size else np.zeros((0, 1 + assertions))
    return np.column_stack([np.ones(len(rows)), rows, np.zeros((len(rows), missing))])


def _fitted(rows: Floats, wrong: Floats, weight: Floats, mean: Floats, precision: Floats) -> Floats:
    """The most likely coefficients under a Gaussian prior, by Newton's method with halved steps; always
    converges, since the objective is strictly convex."""

    def loss(at: Floats) -> float:
        z = rows @ at
        return float(weight @ (np.logaddexp(0, z) - wrong * z) + precision @ (at - mean) ** 2 / 2)

    best, least = mean, loss(mean)
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(-np.clip(rows @ best, -30, 30)))
        slope = rows.T @ (weight * (share - wrong)) + precision * (best - mean)
        curvature = (rows * (weight * share * (1 - share))[:, None]).T @ rows + np.diag(precision)
        step = np.linalg.solve(curvature, slope)
        while (tried := loss(best - step)) > least and np.abs(step).max() > 1e-9:
            step = step / 2
        if np.abs(step).max() <= 1e-6:
            break
        best, least = best - step, tried
    return best
