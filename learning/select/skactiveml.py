"""Query strategies of scikit-activeml behind our protocol. Needs the package `scikit-activeml`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from skactiveml.base import QueryStrategy, SkactivemlClassifier
from skactiveml.pool import Badge, CoreSet

from learning.errors import SelectionError
from learning.select.baselines import probabilities
from learning.select.candidates import Bools, Candidates, Indices
from learning.select.strategy import State

_SEED_BELOW: Final = 2**31


class _Remembered(SkactivemlClassifier):  # type: ignore[misc]
    """Says of every row what the real model said of it: Descant's models live elsewhere, and only their
    output is here."""

    def __init__(self, rows: Any = None, shares: Any = None, classes: Any = None) -> None:
        super().__init__(classes=classes)
        self.rows = rows
        self.shares = shares

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> _Remembered:  # noqa: N803
        self.classes_ = np.asarray(self.classes)
        self.known_ = {row.tobytes(): share for row, share in zip(self.rows, self.shares, strict=True)}
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        return np.array([self.known_[row.tobytes()] for row in np.ascontiguousarray(X, float)])


class SkActiveMl:
    """A strategy whose `query` takes X, y, candidates and batch_size, and clf where `needs_model`."""

    def __init__(self, name: str, strategy: type[QueryStrategy], *, needs_model: bool) -> None:
        self.name = name
        self.strategy = strategy
        self.needs_model = needs_model

    def choose(self, points: Candidates, budget: int, known: State, rng: np.random.Generator) -> Indices:
        rows = points.rows(np.arange(points.points))
        if rows is None:
            raise SelectionError(f"selector {self.name!r} needs features, (points, features).")
        model = {}
        if self.needs_model:
            shares = probabilities(points, self.name)
            remembered = _Remembered(rows, shares, list(range(shares.shape[1])))
            model = {"clf": remembered.fit(rows, None), "fit_clf": False}
        target = np.where(points.open, np.nan, 0.0)
        found = np.flatnonzero(points.open)
        query = self.strategy(random_state=int(rng.integers(_SEED_BELOW)))
        chosen = query.query(X=rows, y=target, candidates=found, batch_size=min(budget, found.size), **model)
        return np.asarray(chosen, np.intp)

    def learn(self, points: Candidates, chosen: Indices, wrong: Bools, known: State) -> State:
        return {}


def core_set() -> SkActiveMl:
    """Sener and Savarese, ICLR 2018: the points farthest from what is labelled."""
    return SkActiveMl("skactiveml-core-set", CoreSet, needs_model=False)


def badge() -> SkActiveMl:
    """Ash et al., ICLR 2020: diverse and uncertain at once, by gradient embeddings."""
    return SkActiveMl("skactiveml-badge", Badge, needs_model=True)
