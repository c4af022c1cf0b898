"""Batches whose points are unlike each other and unlike what is labelled: k-means++ seeding over dense or
sparse rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from learning.select.candidates import Candidates, Floats, Indices

CENTRES = 1_000
"""Labelled points that a batch keeps away from; of more, this many drawn at random, so that the cost stays
bounded."""


def scattered(points: Candidates, found: Indices, weight: Floats, budget: int, rng: np.random.Generator) -> Indices:
    """Up to `budget` distinct positions in `found`, each drawn in proportion to weight × squared distance to
    the nearest labelled or chosen point (Arthur and Vassilvitskii, 2007). Where nothing is left at a
    distance, weight alone decides.

    Cost O((labelled + budget) · found · features).
    """
    rows = points.features[found]
    squares = _squares(rows)
    nearest = _nearest(points, rows, squares, rng)
    left = weight.astype(float, copy=True)
    chosen: list[int] = []
    while len(chosen) < budget:
        share = left if nearest is None else left * nearest
        total = np.cumsum(share)
        if total[-1] <= 0:
            share, total = left, np.cumsum(left)
            if total[-1] <= 0:
                break
        # Clipped to the last point with weight: a draw of exactly the total must not fall on a taken one.
        pick = min(
            int(np.searchsorted(total, rng.random() * total[-1], side="right")),
            int(np.flatnonzero(share)[-1]),
        )
        chosen.append(pick)
        left[pick] = 0.0
        away = np.maximum(0, squares + squares[pick] - 2 * _products(rows, rows[pick]))
        nearest = away if nearest is None else np.minimum(nearest, away)
    return np.asarray(chosen, np.intp)


def _nearest(points: Candidates, rows: Any, squares: Floats, rng: np.random.Generator) -> Floats | None:
    closed = np.flatnonzero(~points.open)
    if not closed.size:
        return None
    if closed.size > CENTRES:
        closed = rng.choice(closed, CENTRES, replace=False)
    nearest = np.full(len(squares), np.inf)
    for part in np.array_split(closed, max(1, closed.size // 128)):
        centres = points.features[part]
        products = rows @ centres.T
        products = products.toarray() if hasattr(products, "toarray") else products
        np.minimum(nearest, (squares[:, None] + _squares(centres)[None] - 2 * products).min(axis=1), out=nearest)
    return np.asarray(np.maximum(0, nearest))


def _squares(rows: Any) -> Floats:
    squares = rows.multiply(rows).sum(axis=1) if hasattr(rows, "multiply") else (rows * rows).sum(axis=1)
    return np.asarray(squares, float).ravel()


def _products(rows: Any, row: Any) -> Floats:
    row = row.toarray() if hasattr(row, "toarray") else row
    return np.asarray(rows @ np.asarray(row, float).ravel())
