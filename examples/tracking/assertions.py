"""Three assertions on a tracker's output. T and the overlap were chosen before anything was judged: half a second, as
nobody walks in and out of a street scene faster, and half of the area."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from assertions import Severity, assertion, consistency

FRAMES = "tracking.boxes"
SECONDS = 0.5
OVERLAP = 0.5

Box = dict[str, Any]


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
    height = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
    shared = max(0.0, width) * max(0.0, height)
    return float(shared / (a["w"] * a["h"] + b["w"] * b["h"] - shared))


def between(before: Box, after: Box, time: float) -> Box:
    """A missing box: half way between its neighbours."""
    return {"id": before["id"], **{side: (before[side] + after[side]) / 2 for side in "xywh"}}


identity = consistency(
    on=FRAMES,
    name="identity",
    id=lambda box: box["id"],
    outputs=lambda frame: frame["boxes"],
    scope=lambda frame: frame["camera"],
    within=SECONDS,
    weak_label=between,
)


@assertion(on=FRAMES, severity="pairs of boxes on one place")
def multibox(frame: dict[str, Any]) -> Severity:
    pairs = [(a["id"], b["id"]) for a, b in combinations(frame["boxes"], 2) if overlap(a, b) > OVERLAP]
    return Severity(len(pairs), f"boxes {', '.join(f'{a} and {b}' for a, b in pairs)} overlap" if pairs else "")
