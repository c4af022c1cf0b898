"""Assertions over the observed pipeline: one fires, one is broken."""

from __future__ import annotations

from typing import Any

from assertions import assertion
from tests.integration.observed import PIPELINE


@assertion(on=f"{PIPELINE}.verdict")
def doubtful(verdict: dict[str, Any]) -> float:
    return float(verdict["doubt"])


@assertion(on=f"{PIPELINE}.verdict")
def fragile(verdict: dict[str, Any]) -> bool:
    raise ValueError(f"cannot look at {verdict['words']}")
