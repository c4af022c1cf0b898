"""How an assertion itself is doing. "No flags" and "broken" are never the same answer."""

from __future__ import annotations

import enum
from bisect import insort
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

    def __init__(self) -> None:
        self._sorted: list[float] = []
        self._kept: list[float] = []
        self._every = 1
        self._count = 0

    def add(self, value: float) -> None:
        if self._count % self._every == 0:
            self._kept.append(value)
            insort(self._sorted, value)
            if len(self._kept) > SAMPLES_MAX:
                self._kept = self._kept[::2]
                self._sorted = sorted(self._kept)
                self._every *= 2
        self._count += 1

    def quantile(self, share: float) -> float | None:
        """None until there is a number."""
        if not self._sorted:
            return None
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))]


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
    _recent: list[bool] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        self.evaluated += 1
        self.seconds.add(outcome.seconds)
        self._recent.append(isinstance(outcome, Broken))
        if len(self._recent) > RECENT:
            del self._recent[0]
        match outcome:
            case Abstained():
                self.abstained += 1
            case Judged(findings=findings):
                if findings:
                    self.fired += 1
                for finding in findings:
                    self.severities.add(finding.severity)
            case Broken(fault=fault, reason=reason):
                self.errors[fault] = self.errors.get(fault, 0) + 1
                self.last_error = f"{fault.value}: {reason}"

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
