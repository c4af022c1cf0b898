"""BAL as published: a bandit over model assertions that picks which flagged points to label.

Source: Kang, Raghavan, Bailis, Zaharia, "Model Assertions for Monitoring and Improving ML Models", MLSys
2020, section 3. `learning.select` has the selector that Descant uses by default, and
docs/decisions/selector.md how they compare.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from learning.errors import SelectionError
from learning.select.baselines import Margin, Random, uniform_from_assertions
from learning.select.candidates import Bools, Candidates, Floats, Indices
from learning.select.draws import draw
from learning.select.strategy import Selector, State

EXPLORED = 0.25
"""Share of a later round's budget that is drawn uniformly over assertions, so that one whose firings do not
fall is still seen. The paper's figure."""
SMALLEST_REDUCTION = 0.01
"""When no assertion's firings fell by this share, the baseline chooses instead. The paper's figure."""


@dataclass(frozen=True)
class Bal:
    """The first round draws assertions uniformly. Later ones draw an assertion in proportion to how much its
    firings fell since the round before, then one of its points with probability proportional to the rank of
    its severity; a quarter of the budget stays uniform. Where nothing fell, `baseline` chooses the rest
    (margin where there is an uncertainty, random otherwise, unless the user names another)."""

    name: ClassVar[str] = "bal"
    baseline: Selector | None = field(default=None)

    def choose(self, points: Candidates, budget: int, known: State, rng: np.random.Generator) -> Indices:
        left = points.open.copy()
        fires = np.asarray(known.get("fires", []), float)
        if not fires.size:
            return uniform_from_assertions(points, budget, left, rng)
        if fires.size > points.assertions:
            raise SelectionError(
                f"the state knows {fires.size} assertions and severities has {points.assertions} columns."
            )
        fell = reductions(fires, points.fires)
        explored = uniform_from_assertions(points, round(budget * EXPLORED), left, rng)
        if (fell < SMALLEST_REDUCTION).all():
            rest = Candidates(points.severities, points.uncertainty, points.probabilities, points.features, ~left)
            chosen = self._fallback(points).choose(rest, budget - explored.size, {}, rng)
        else:
            chosen = exploited(points, budget - explored.size, fell, left, rng)
        return np.concatenate([explored, chosen])

    def learn(self, points: Candidates, chosen: Indices, wrong: Bools, known: State) -> State:
        return {"fires": points.fires.tolist()}

    def _fallback(self, points: Candidates) -> Selector:
        if self.baseline is not None:
            return self.baseline
        if points.uncertainty is None and points.probabilities is None:
            return Random()
        return Margin()


def reductions(before: Floats, now: Floats) -> Floats:
    """(assertions,): by which share each assertion's firings fell; 0 where they rose, were none, or are not
    known yet."""
    before = np.concatenate([before, np.zeros(now.size - before.size)])
    return np.asarray(np.maximum(0, before - now) / np.where(before > 0, before, 1))


def exploited(points: Candidates, budget: int, worth: Floats, left: Bools, rng: np.random.Generator) -> Indices:
    """Up to `budget` points: an assertion in proportion to `worth`, a point of it in proportion to its
    severity's rank.

    Drawing assertion by assertion without replacement equals drawing each assertion's points in one weighted
    order and dealing them, which costs one pass an assertion. A deck of `budget` points cannot run out before
    the budget does.
    """
    decks: list[Indices] = []
    for j in range(points.assertions):
        flagged = np.flatnonzero(left & (points.severities[:, j] > 0)) if worth[j] > 0 else np.zeros(0, np.intp)
        order = np.argsort(np.argsort(points.severities[flagged, j], kind="stable"), kind="stable") + 1.0
        decks.append(flagged[draw(order, budget, rng)])
    weight = np.where([deck.size > 0 for deck in decks], worth, 0.0)
    tops = np.zeros(len(decks), int)
    chosen: list[int] = []
    while len(chosen) < budget and weight.sum() > 0:
        j = int(rng.choice(weight.size, p=weight / weight.sum()))
        while tops[j] < decks[j].size and not left[decks[j][tops[j]]]:
            tops[j] += 1
        if tops[j] == decks[j].size:
            weight[j] = 0
            continue
        point = int(decks[j][tops[j]])
        left[point] = False
        chosen.append(point)
    return np.asarray(chosen, np.intp)
