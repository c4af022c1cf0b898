"""How an assertion itself is doing. "No flags" and "broken" are never the same answer."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from assertions.core.severity import Abstained, Broken, Fault, Judged, Outcome

# An assertion that never abstains and never fires on this many examples tells nothing: it is silent, not healthy.
SILENT_AFTER: Final = 1_000
# One example that breaks an assertion is a bug report; this share of the last hundred means that it does not work.
BROKEN_SHARE: Final = 0.5
RECENT: Final = 100
SAMPLES_MAX: Final = 512


class HealthState(enum.StrEnum):
    UNTRIED = "untried"  # has seen nothing yet
    HEALTHY = "healthy"
    SILENT = "silent"  # runs, and never fires
    FAILING = "failing"  # some of the recent examples broke it
    BROKEN = "broken"  # most of the recent examples broke it, or it is suspended


class Sample:
    """A bounded, deterministic sample of numbers: every k-th, k doubling whenever it is full."""

    __slots__ = ("_every", "_kept", "_skip")

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._every = 1
        self._skip = 0

    def extend(self, values: Sequence[float]) -> None:
        at = self._skip
        while at < len(values):
            self._kept.append(values[at])
            if len(self._kept) > SAMPLES_MAX:
                self._kept = self._kept[::2]
                self._every *= 2
            at += self._every
        self._skip = at - len(values)

    def quantile(self, share: float) -> float | None:
        """None until there is a number. Sorts: read every second, written for each example."""
        if not self._kept:
            return None
        return sorted(self._kept)[min(len(self._kept) - 1, int(share * len(self._kept)))]


@dataclass(slots=True)
class Health:
    """Counts of one assertion. Judging an example again, because its window changed, counts again."""

    evaluated: int = 0
    abstained: int = 0
    fired: int = 0
    errors: dict[Fault, int] = field(default_factory=dict)
    late: int = 0
    """Observations that came after the allowed lateness and were left out."""
    evicted: int = 0
    """Observations dropped from a window because its key had too many."""
    last_error: str = ""
    is_suspended: bool = False
    """It hung so often that it is no longer called."""
    seconds: Sample = field(default_factory=Sample)
    severities: Sample = field(default_factory=Sample)
    _recent: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT))

    def count(self, outcomes: Sequence[Outcome]) -> None:
        self.evaluated += len(outcomes)
        self.seconds.extend([outcome.seconds for outcome in outcomes])
        self._recent.extend([isinstance(outcome, Broken) for outcome in outcomes])
        for outcome in outcomes:
            if isinstance(outcome, Judged):  # nearly all of them, so first
                if outcome.findings:
                    self.fired += 1
                    self.severities.extend([finding.severity for finding in outcome.findings])
            elif isinstance(outcome, Abstained):
                self.abstained += 1
            else:
                self.errors[outcome.fault] = self.errors.get(outcome.fault, 0) + 1
                self.last_error = f"{outcome.fault.value}: {outcome.reason}"

    @property
    def state(self) -> HealthState:
        if self.is_suspended:
            return HealthState.BROKEN
        if not self.evaluated:
            return HealthState.UNTRIED
        broken = sum(self._recent)
        if broken >= BROKEN_SHARE * len(self._recent):
            return HealthState.BROKEN
        if broken:
            return HealthState.FAILING
        if self.evaluated >= SILENT_AFTER and not self.fired:
            return HealthState.SILENT
        return HealthState.HEALTHY

    def to_json(self) -> dict[str, Any]:
        return {
            "state": self.state.value,
            "evaluated": self.evaluated,
            "abstained": self.abstained,
            "fired": self.fired,
            "errors": {fault.value: n for fault, n in sorted(self.errors.items())},
            "late": self.late,
            "evicted": self.evicted,
            "last_error": self.last_error,
            "seconds_p50": self.seconds.quantile(0.5),
            "seconds_p99": self.seconds.quantile(0.99),
            "severity_p50": self.severities.quantile(0.5),
            "severity_p90": self.severities.quantile(0.9),
            "severity_p99": self.severities.quantile(0.99),
        }
