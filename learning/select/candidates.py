"""The points that a round chooses from, checked once so that no strategy has to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning.errors import SelectionError

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Candidates:
    """All points of a round. Arrays are views of the caller's where their type allows; nobody writes to
    them."""

    severities: Floats
    """(points, assertions); 0 abstains, higher is worse. Only the order within one assertion means
    anything."""
    uncertainty: Floats | None = None
    """(points,), higher is less sure. 1 − margin serves best where there are several classes."""
    probabilities: Floats | None = None
    """(points, classes), what the model gave; for strategies that need more than one number."""
    features: Any = None
    """(points, features), dense or scipy sparse: how alike two points are; only for diversity."""
    closed: Bools | None = None
    """(points,), labelled already or otherwise not to be chosen; they still count as firings."""

    @property
    def points(self) -> int:
        return int(self.severities.shape[0])

    @property
    def assertions(self) -> int:
        return int(self.severities.shape[1])

    @cached_property
    def open(self) -> Bools:
        return np.ones(self.points, bool) if self.closed is None else ~self.closed

    @cached_property
    def fires(self) -> Floats:
        """(assertions,), the share of all points, labelled or not, that each assertion flags."""
        if not self.points:
            return np.zeros(self.assertions)
        return np.asarray(np.count_nonzero(self.severities, axis=0) / self.points)

    def rows(self, chosen: Indices) -> Floats | None:
        """(chosen, features), dense; None without features."""
        if self.features is None:
            return None
        part = self.features[chosen]
        return np.asarray(part.toarray() if hasattr(part, "toarray") else part, float)


def candidates(
    severities: ArrayLike,
    uncertainty: ArrayLike | None = None,
    *,
    probabilities: ArrayLike | None = None,
    features: Any = None,
    labelled: ArrayLike | None = None,
) -> Candidates:
    """Check and wrap plain arrays.

    labelled   a mask (points,) or row numbers
    Raises     SelectionError: rows that disagree, negative or non-finite severities, non-finite uncertainty.
    """
    severity = _matrix(severities, "severities")
    points = severity.shape[0]
    if severity.size and not (severity.min() >= 0 and np.isfinite(severity.max())):
        raise SelectionError(
            "severities must be finite and not negative (0 abstains). Find the assertion that says otherwise."
        )
    unsure = None if uncertainty is None else _vector(uncertainty, points)
    shares = None if probabilities is None else _matrix(probabilities, "probabilities")
    for name, rows in (("probabilities", shares), ("features", features)):
        if rows is not None and rows.shape[0] != points:
            raise SelectionError(f"{name} has {rows.shape[0]} rows, severities {points}. Pass a row a point to both.")
    if features is not None and len(features.shape) != 2:
        raise SelectionError("features must be (points, features).")
    return Candidates(severity, unsure, shares, features, None if labelled is None else _mask(labelled, points))


def _matrix(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.ndim != 2:
        raise SelectionError(f"{name} must be a two-dimensional array of numbers, one row a point.")
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _vector(values: ArrayLike, points: int) -> Floats:
    array = np.asarray(values, float)
    if array.shape != (points,):
        raise SelectionError(f"uncertainty has shape {array.shape}; it must be ({points},), one number a point.")
    if not np.isfinite(array).all():
        raise SelectionError("uncertainty must be finite. Find the points for which the model gave nan.")
    return array


def _mask(values: ArrayLike | Sequence[int], points: int) -> Bools:
    array = np.asarray(values)
    if array.dtype == bool:
        if array.shape != (points,):
            raise SelectionError(f"the mask of labelled points has shape {array.shape}; it must be ({points},).")
        return array
    mask = np.zeros(points, bool)
    if array.size:
        if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= points:
            raise SelectionError(f"labelled must be row numbers below {points}, or a mask.")
        mask[array] = True
    return mask
