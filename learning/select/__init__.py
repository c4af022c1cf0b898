"""Which points a person labels next: plain arrays in, row numbers out; no platform needed.

state = None
for _ in range(rounds):
    rows = select(severities, uncertainty, budget, state, rng)
    state = observe(state, severities, uncertainty, rows, wrong=labels[rows] != predictions[rows])
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from learning.select import registry, strategy
from learning.select.candidates import Candidates, Indices, candidates
from learning.select.registry import selector
from learning.select.strategy import Selector, State


def select(
    severities: ArrayLike,
    uncertainty: ArrayLike | None,
    budget: int,
    state: State | None,
    rng: np.random.Generator,
    *,
    features: Any = None,
    probabilities: ArrayLike | None = None,
    labelled: ArrayLike | None = None,
    using: str | Selector = registry.DEFAULT,
) -> Indices:
    """Choose the points that a person labels next, among those not labelled yet.

    severities     (points, assertions); 0 abstains, higher is worse; only the order within an assertion
                   counts
    uncertainty    (points,), higher is less sure, 1 − margin by preference; None where the model gives none
    state          what `observe` returned for the round before, None in the first; rows keep their numbers
                   between rounds
    features       (points, features), dense or sparse: makes a batch diverse
    probabilities  (points, classes): for `least-confidence`, `entropy`; stands in for a missing uncertainty
    labelled       mask or row numbers that may not be chosen, beside those that the state knows
    using          a registered selector's name (`descant.selectors`), or a selector
    Returns        min(budget, open points) distinct row numbers; the same for the same arrays and generator
                   state
    Raises         SelectionError for shapes that disagree, a budget below 1, nan; UnknownNameError; leaves
                   rng untouched then
    Cost           linear in points × assertions; 100,000 × 20 with a batch of 100: docs/decisions/selector.md
    """
    points = candidates(severities, uncertainty, probabilities=probabilities, features=features, labelled=labelled)
    return strategy.choose(_selector(using), points, budget, state, rng)


def observe(
    state: State | None,
    severities: ArrayLike,
    uncertainty: ArrayLike | None,
    chosen: ArrayLike,
    wrong: ArrayLike,
    *,
    features: Any = None,
    probabilities: ArrayLike | None = None,
    using: str | Selector | None = None,
) -> State:
    """The state for the next round: `chosen` rows were labelled, and the model's prediction was `wrong` or
    not, (chosen,).

    The arrays are those that `select` chose from, before retraining. Without `using`: the selector that the
    state is of, or the default. The result is JSON data. Raises SelectionError.
    """
    points = candidates(severities, uncertainty, probabilities=probabilities, features=features)
    owner = using or (str(state["selector"]) if state else registry.DEFAULT)
    return strategy.learn(_selector(owner), points, chosen, wrong, state)


def _selector(using: str | Selector) -> Selector:
    return selector(using) if isinstance(using, str) else using


__all__ = ["Candidates", "Indices", "Selector", "State", "observe", "select", "selector"]
