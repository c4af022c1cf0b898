"""How unsure the model is of each point, from whatever the caller has."""

from __future__ import annotations

from learning.select.baselines import Margin
from learning.select.candidates import Candidates, Floats


def unsure(points: Candidates) -> Floats | None:
    """(points,): the uncertainty as passed, else 1 − margin of the probabilities, else None."""
    if points.uncertainty is not None:
        return points.uncertainty
    return None if points.probabilities is None else Margin().unsure(points)
