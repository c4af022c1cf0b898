"""A bandit over assertions, uncertainty and chance, paid in errors found.

BAL rewards an assertion whose firings fell. Once labels are there, the share of an assertion's labelled
points on which the model was wrong says more, and says it earlier. What was measured:
docs/decisions/selector.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from learning.bal import reductions
from learning.errors import SelectionError
from learning.select.baselines import uniform_from_assertions
from learning.select.candidates import Bools, Candidates, Floats, Indices
from learning.select.draws import draw, largest, ranks, spread
from learning.select.strategy import State
from learning.select.unsure import unsure


@dataclass(frozen=True)
class Bandit:
    """Arms are the assertions, UNC (all points, by uncertainty) and RAND (all points alike).

    An arm's value is its error rate among labels, discounted by age, times 1 + `reduction_weight` × the fall
    of its firings.
    """

    name: ClassVar[str] = "bandit"
    explored: float = 0.10
    """Share of the budget that goes to all arms alike."""
    decay: float = 0.7
    """What a round's labels count for one round later: the model that made those errors is being replaced."""
    reduction_weight: float = 10.0
    candidates: int = 6
    """Points drawn for each that is kept; more is more diverse and less severe."""
    uncertainty_power: float = 4.0
    """Arm UNC draws in proportion to this power of the rank."""
    uncertain_share: float = 0.10
    """Arm UNC learns from the labelled points that were in this share of the least sure."""

    def choose(self, points: Candidates, budget: int, known: State, rng: np.random.Generator) -> Indices:
        doubt = unsure(points)
        left = points.open.copy()
        if not known:
            return uniform_from_assertions(points, budget, left, rng)
        weights = _weights(points, doubt, self.uncertainty_power)
        sizes = np.array([np.count_nonzero((w > 0) & left) for w in weights])
        value = np.where(sizes > 0, self.values(points, known), 0.0)
        alive = (sizes > 0) & (np.arange(sizes.size) != (points.assertions if doubt is None else -1))
        share = np.where(alive, (1 - self.explored) * value / value[alive].sum() + self.explored / alive.sum(), 0.0)
        quotas = rng.multinomial(budget, share / share.sum())
        chosen: list[Indices] = []
        for arm in np.argsort(np.where(alive, sizes, points.points + 1), kind="stable"):
            if quotas[arm]:
                chosen.append(self._from(points, weights[arm], left, int(quotas[arm]), before=chosen, rng=rng))
                left[chosen[-1]] = False
        return np.concatenate(chosen)

    def values(self, points: Candidates, known: State) -> Floats:
        """(assertions + 2,): what a label from each arm is worth; the last two are UNC and RAND."""
        errors, fine = _counts(known, points.assertions)
        fell = reductions(np.asarray(known["fires"], float), points.fires)
        mean = fell.mean() if fell.size else 0.0
        return np.asarray(
            (1 + errors) / (2 + errors + fine) * (1 + self.reduction_weight * np.append(fell, [mean, mean]))
        )

    def _from(
        self,
        points: Candidates,
        weight: Floats,
        left: Bools,
        quota: int,
        *,
        before: list[Indices],
        rng: np.random.Generator,
    ) -> Indices:
        drawn = draw(np.where(left, weight, 0.0), self.candidates * quota, rng)
        rows = points.rows(drawn)
        if rows is None:
            return drawn[:quota]
        taken = [found for found in (points.rows(b) for b in before) if found is not None and found.size]
        return np.asarray(
            drawn[spread(weight[drawn], rows, np.concatenate(taken) if taken else rows[:0], quota)], np.intp
        )

    def learn(self, points: Candidates, chosen: Indices, wrong: Bools, known: State) -> State:
        errors, fine = _counts(known, points.assertions)
        member = _members(points, chosen, self.uncertain_share)
        return {
            "errors": (self.decay * errors + member[wrong].sum(axis=0)).tolist(),
            "fine": (self.decay * fine + member[~wrong].sum(axis=0)).tolist(),
            "fires": points.fires.tolist(),
        }


def _weights(points: Candidates, doubt: Floats | None, power: float) -> list[Floats]:
    """Per arm, (points,): in proportion to what a point is drawn."""
    rank = None if doubt is None else ranks(doubt - doubt.min())
    weights: list[Floats] = []
    for j in range(points.assertions):
        severity = points.severities[:, j]
        weight = np.zeros(points.points)
        flagged = np.flatnonzero(severity)
        weight[flagged] = ranks(severity[flagged]) * (1.0 if rank is None else rank[flagged])
        weights.append(weight)
    return [*weights, np.zeros(points.points) if rank is None else rank**power, np.ones(points.points)]


def _counts(known: State, assertions: int) -> tuple[Floats, Floats]:
    """Errors and non-errors per arm; an assertion that joined since then starts at none."""
    errors, fine = (np.asarray(known.get(name, [0.0, 0.0]), float) for name in ("errors", "fine"))
    missing = assertions + 2 - errors.size
    if missing < 0:
        raise SelectionError(f"the state knows {errors.size - 2} assertions and severities has {assertions} columns.")
    return tuple(np.concatenate([c[:-2], np.zeros(missing), c[-2:]]) for c in (errors, fine))  # type: ignore[return-value]


def _members(points: Candidates, chosen: Indices, share: float) -> Bools:
    """(chosen, assertions + 2): which arms a point belonged to when it was chosen."""
    flagged = points.severities[chosen] > 0
    doubt = unsure(points)
    top = np.zeros(points.points, bool)
    if doubt is not None:
        top[largest(doubt, max(1, round(share * points.points)))] = True
    alone = ~flagged.any(axis=1) & ~top[chosen]
    return np.column_stack([flagged, top[chosen], alone])
