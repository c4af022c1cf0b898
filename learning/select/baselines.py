"""The strategies that everything else is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from learning.errors import SelectionError
from learning.select.candidates import Bools, Candidates, Floats, Indices
from learning.select.draws import draw, largest
from learning.select.strategy import State


@dataclass(frozen=True)
class _Memoryless:
    """A strategy that its labels teach nothing."""

    name: ClassVar[str]

    def learn(self, points: Candidates, chosen: Indices, wrong: Bools, known: State) -> State:
        return {}


@dataclass(frozen=True)
class Random(_Memoryless):
    """Every open point alike."""

    name = "random"

    def choose(self, points: Candidates, budget: int, known: State, rng: np.random.Generator) -> Indices:
        return draw(points.open.astype(float), budget, rng)


@dataclass(frozen=True)
class _Uncertainty(_Memoryless):
    """The least sure open points; equals in random order, so that a constant model is not read from the
    top."""

    def choose(self, points: Candidates, budget: int, known: State, rng: np.random.Generator) -> Indices:
        order = rng.permutation(np.flatnonzero(points.open))
        return np.asarray(order[largest(self.unsure(points)[order], budget)], np.intp)

    def unsure(self, points: Candidates) -> Floats:
        raise NotImplementedError


@dataclass(frozen=True)
class Margin(_Uncertainty):
    """1 − (best − second best); `uncertainty` as it was passed where there are no probabilities."""

    name = "margin"

    def unsure(self, points: Candidates) -> Floats:
        if points.probabilities is None:
            if points.uncertainty is None:
                raise SelectionError("selector 'margin' needs uncertainty or probabilities.")
            return points.uncertainty
        if points.probabilities.shape[1] < 2:
            return np.zeros(points.points)
        best = np.partition(points.probabilities, -2, axis=1)
        return np.asarray(1 - (best[:, -1] - best[:, -2]))


@dataclass(frozen=True)
class LeastConfidence(_Uncertainty):
    """1 − probability of the predicted class."""

    name = "least-confidence"

    def unsure(self, points: Candidates) -> Floats:
        return np.asarray(1 - probabilities(points, self.name).max(axis=1))


@dataclass(frozen=True)
class Entropy(_Uncertainty):
    """Entropy of the predicted distribution, in nats."""

    name = "entropy"

    def unsure(self, points: Candidates) -> Floats:
        shares = np.clip(probabilities(points, self.name), 1e-12, 1)
        return np.asarray(-(shares * np.log(shares)).sum(axis=1))


@dataclass(frozen=True)
class UniformAssertions(_Memoryless):
    """An assertion uniformly, then one of its open points uniformly: BAL's first round, in every round."""

    name = "uniform-assertions"

    def choose(self, points: Candidates, budget: int, known: State, rng: np.random.Generator) -> Indices:
        return uniform_from_assertions(points, budget, points.open.copy(), rng)


def uniform_from_assertions(points: Candidates, budget: int, left: Bools, rng: np.random.Generator) -> Indices:
    """Up to `budget` points, each from an assertion drawn uniformly among those with a point left; `left` is
    updated.

    Each assertion's points are shuffled once and dealt from the top, so that a pick costs no pass over the
    points.
    """
    decks = [rng.permutation(np.flatnonzero(left & (points.severities[:, j] > 0))) for j in range(points.assertions)]
    tops = [0] * len(decks)
    alive = [j for j, deck in enumerate(decks) if deck.size]
    chosen: list[int] = []
    while alive and len(chosen) < budget:
        j = alive[int(rng.integers(len(alive)))]
        while tops[j] < decks[j].size and not left[decks[j][tops[j]]]:
            tops[j] += 1
        if tops[j] == decks[j].size:
            alive.remove(j)
            continue
        point = int(decks[j][tops[j]])
        left[point] = False
        chosen.append(point)
    return np.asarray(chosen, np.intp)


def probabilities(points: Candidates, name: str) -> Floats:
    if points.probabilities is None or not points.probabilities.shape[1]:
        raise SelectionError(f"selector {name!r} needs probabilities, (points, classes).")
    return points.probabilities
