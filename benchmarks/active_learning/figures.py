"""From curves to figures: labels saved, final scores, and whether a selector lost to a baseline."""

from __future__ import annotations

import numpy as np

from benchmarks.active_learning.world import Array

RESAMPLES = 2_000
LEVEL = (5, 95)
"""Percentiles of the intervals, over resampled seeds."""


def labels_needed(curve: Array, target: float) -> float:
    """The share of all labels after which a mean curve first reaches the target, interpolated; 1 where it
    never does."""
    steps = len(curve) - 1
    if curve[0] >= target:
        return 0.0
    for after in range(1, steps + 1):
        if curve[after] >= target:
            rise = (target - curve[after - 1]) / (curve[after] - curve[after - 1])
            return float((after - 1 + rise) / steps)
    return 1.0


def saving(ours: Array, theirs: Array) -> float:
    """What share of their labels we do not need for the score that they end with, by mean curves; negative
    where they get to *our* end with fewer."""
    a, b = ours.mean(axis=0), theirs.mean(axis=0)
    if a[-1] >= b[-1]:
        return labels_needed(b, b[-1]) - labels_needed(a, b[-1])
    return labels_needed(b, a[-1]) - labels_needed(a, a[-1])


def saving_interval(ours: Array, theirs: Array, rng: np.random.Generator) -> tuple[float, float]:
    draws = rng.integers(len(ours), size=(RESAMPLES, len(ours)))
    found = [saving(ours[d], theirs[d]) for d in draws]
    low, high = np.percentile(found, LEVEL)
    return float(low), float(high)


def area(curves: Array) -> Array:
    """(seeds,): the mean height of each curve after the start."""
    return np.asarray((curves[:, 1:].mean(axis=1) + curves[:, :-1].mean(axis=1)) / 2)


def difference(ours: Array, theirs: Array, rng: np.random.Generator) -> tuple[float, float, float]:
    """Mean of paired differences (seeds,) with a 95 % interval, by bootstrap over seeds."""
    gap = ours - theirs
    means = gap[rng.integers(len(gap), size=(RESAMPLES, len(gap)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(gap.mean()), float(low), float(high)
