"""One task, dealt for one seed: a pool to label from, a biased start, a test set, a model and its
assertions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Predictions:
    labels: Array
    """(points,), class numbers."""
    probabilities: Array
    """(points, classes)"""

    @property
    def margin(self) -> Array:
        """1 − (best − second best), (points,)."""
        best = np.partition(self.probabilities, -2, axis=1)
        return np.asarray(1 - (best[:, -1] - best[:, -2]))

    @property
    def confidence(self) -> Array:
        return np.asarray(self.probabilities.max(axis=1))


@dataclass(frozen=True)
class World:
    start: tuple[Any, Array]
    """Features and labels of the small, biased set that the first model is trained on."""
    pool: tuple[Any, Array]
    test: tuple[Any, Array]
    likeness: Array
    """(pool, features), dense: for selectors that want diverse batches."""
    assertions: Callable[[Predictions], Array]
    """What the model says of the pool -> severities (pool, assertions)."""
    model: Callable[[], Any]
    score: Callable[[Array, Array], float]
    """(truth, predicted) -> what is reported, in [0, 1]."""
    classes: int
    weak: Callable[[Predictions], list[tuple[str, Array]]]
    """Weak-label rules by name: (pool,) a class number where the rule proposes one, −1 where it abstains."""
    tally: str = "accuracy"


@dataclass(frozen=True)
class Task:
    name: str
    about: str
    deal: Callable[[np.random.Generator], World]
    budget: int
    """Labels a round."""
    rounds: int = 5


def predictions(model: Any, features: Any, classes: int) -> Predictions:
    """The model's word on every row; a class that it has never seen gets probability 0."""
    given = model.predict_proba(features)
    full = np.zeros((given.shape[0], classes))
    full[:, np.asarray(model.classes_, int)] = given
    return Predictions(full.argmax(axis=1), full)
