"""Assertions that a processor's process imports; the pipeline's name comes from the environment."""

from __future__ import annotations

import os
from typing import Any

from assertions import Window, assertion, consistency

PIPELINE = os.environ["WATCHED_PIPELINE"]
VERDICT = f"{PIPELINE}.verdict"


@assertion(on=VERDICT)
def unsure(verdict: dict[str, Any]) -> float:
    return float(verdict["doubt"])


@assertion(on=VERDICT, window=5, per=lambda v: v["entity"], lateness=1.0)
def repeated(verdict: dict[str, Any], recent: Window[dict[str, Any]]) -> bool:
    return any(earlier["n"] == verdict["n"] for earlier in recent)


@assertion(on=VERDICT)
def fragile(verdict: dict[str, Any]) -> bool:
    return bool(1 // verdict["divisor"] < 0)


same_value = consistency(
    on=VERDICT,
    name="same_value",
    id=lambda v: v["entity"],
    attrs=lambda v: {"value": v["value"]},
    within=30.0,
    lateness=1.0,
)
