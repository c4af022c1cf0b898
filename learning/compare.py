"""How selectors would do on somebody's own data: which find the model's errors with how many labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from learning.errors import SelectionError
from learning.select import observe, select


@dataclass(frozen=True)
class Found:
    """Errors found after each round, means over seeds."""

    selector: str
    errors: tuple[float, ...]
    low: float
    """95 % interval of the last, over seeds."""
    high: float


def compare(
    severities: ArrayLike,
    uncertainty: ArrayLike | None,
    wrong: ArrayLike,
    *,
    selectors: Sequence[str],
    budget: int,
    rounds: int,
    seeds: int,
    more: Mapping[str, Any] | None = None,
) -> list[Found]:
    """Replay labelling with every selector, best first. The model is not retrained, so this counts errors found and
    not the accuracy that they buy: benchmarks/active_learning does that.

    wrong   (points,) bool: the prediction was not what a person said
    more    `features`, `probabilities` for select
    Raises  SelectionError
    """
    errors = np.asarray(wrong, bool)
    if errors.ndim != 1 or not errors.size:
        raise SelectionError("wrong must be (points,): whether the model's prediction was wrong.")
    given = dict(more or {})
    results = []
    for name in selectors:
        counts = np.zeros((seeds, rounds))
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            state, total = None, 0
            for step in range(rounds):
                rows = select(severities, uncertainty, budget, state, rng, using=name, **given)
                state = observe(state, severities, uncertainty, rows, errors[rows], using=name, **given)
                total += int(errors[rows].sum())
                counts[seed, step] = total
        mean = counts.mean(axis=0)
        half = 1.96 * counts[:, -1].std(ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.0
        results.append(Found(name, tuple(mean.tolist()), float(mean[-1] - half), float(mean[-1] + half)))
    return sorted(results, key=lambda found: -found.errors[-1])
