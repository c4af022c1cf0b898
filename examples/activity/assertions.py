"""The paper's rule for heart rhythms, for activities: no A, B, A within T. Nobody interrupts one for less than five
seconds; T was chosen for that reason, before anything was judged. A that is gone and comes back is a flicker."""

from __future__ import annotations

from assertions import consistency

SECONDS = 5.0

steady = consistency(
    on="activity.prediction",
    name="steady",
    id=lambda prediction: prediction["activity"],
    scope=lambda prediction: prediction["person"],
    within=SECONDS,
    transitions=["flicker"],
)
