"""The health of assertions as metrics: counters that only rise, although partitions come and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from assertions.core.health import HealthState
from streams import metrics

COUNTED: Final = {
    "evaluated": metrics.ASSERTION_EVALUATED,
    "abstained": metrics.ASSERTION_ABSTAINED,
    "fired": metrics.ASSERTION_FIRED,
    "late": metrics.ASSERTION_LATE,
}
QUANTILES: Final = {
    "seconds_p50": (metrics.ASSERTION_SECONDS, "0.5"),
    "seconds_p99": (metrics.ASSERTION_SECONDS, "0.99"),
    "severity_p50": (metrics.ASSERTION_SEVERITY, "0.5"),
    "severity_p90": (metrics.ASSERTION_SEVERITY, "0.9"),
    "severity_p99": (metrics.ASSERTION_SEVERITY, "0.99"),
}


class Measured:
    """Of one process."""

    def __init__(self) -> None:
        self._counted: dict[tuple[object, str, str], int] = {}

    def count(self, fold: object, assertion: str, state: Mapping[str, Any]) -> None:
        """Add what the counts of one fold have risen by; `fold` is the same object from one call to the next."""
        for name, counter in COUNTED.items():
            if risen := self._risen(fold, assertion, name, state[name]):
                counter.labels(assertion).inc(risen)
        for fault, count in state["errors"].items():
            if risen := self._risen(fold, assertion, fault, count):
                metrics.ASSERTION_ERRORS.labels(assertion, fault).inc(risen)

    def show(self, assertion: str, state: Mapping[str, Any]) -> None:
        """Of all folds together, as the health topic has it."""
        for name, (gauge, quantile) in QUANTILES.items():
            if state[name] is not None:
                gauge.labels(assertion, quantile).set(state[name])
        for each in HealthState:
            metrics.ASSERTION_STATE.labels(assertion, each.value).set(state["state"] == each.value)

    def forget(self, fold: object) -> None:
        self._counted = {key: count for key, count in self._counted.items() if key[0] is not fold}

    def _risen(self, fold: object, assertion: str, name: str, count: int) -> int:
        before = self._counted.get((fold, assertion, name), 0)
        self._counted[fold, assertion, name] = count
        return count - before
