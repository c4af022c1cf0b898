"""Confidence intervals for what a gate and a dashboard show."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from learning.records import Interval

Z95 = 1.959964
RESAMPLES = 2_000


def wilson(successes: int, n: int) -> Interval:
    """A share with its 95 % score interval (Wilson, 1927): honest for small n and shares near 0 and 1."""
    if n == 0:
        return Interval(value=0.0, low=0.0, high=1.0, n=0)
    share = successes / n
    middle = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n)) / (1 + Z95**2 / n)
    return Interval(value=share, low=max(0.0, middle - half), high=min(1.0, middle + half), n=n)


def mean(values: ArrayLike) -> Interval:
    """Mean of (n,) measurements with its 95 % interval by the normal approximation: for means over seeds."""
    found = np.asarray(values, float)
    if not found.size:
        return Interval(value=0.0, low=0.0, high=0.0, n=0)
    half = Z95 * float(found.std(ddof=1)) / math.sqrt(found.size) if found.size > 1 else 0.0
    middle = float(found.mean())
    return Interval(value=middle, low=middle - half, high=middle + half, n=int(found.size))


def paired_gain(before: ArrayLike, after: ArrayLike, rng: np.random.Generator) -> Interval:
    """Mean of after − before, (n,) each, with a 95 % bootstrap interval over the pairs."""
    gap = np.asarray(after, float) - np.asarray(before, float)
    if not gap.size:
        return Interval(value=0.0, low=-1.0, high=1.0, n=0)
    # Only −1, 0 and 1 occur for right and wrong answers, so a resample is one multinomial draw, not n of
    # them.
    values, counts = np.unique(gap, return_counts=True)
    means = rng.multinomial(gap.size, counts / gap.size, size=RESAMPLES) @ values / gap.size
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(value=float(gap.mean()), low=float(low), high=float(high), n=int(gap.size))
