"""Which flags become alerts: filters, repetitions, rate. What is held back is counted, never just gone."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Final

from assertions.core.flag import Flag, FlagState

# Delivered flags that are remembered to tell repetitions and withdrawals.
REMEMBERED_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Empty fields let everything pass."""

    assertion: str | None = None
    pipeline: str | None = None
    min_severity: float = 0.0
    tag: str | None = None
    standing_only: bool = False
    """No provisional flags: later, and never withdrawn."""

    def admits(self, flag: Flag) -> bool:
        return (
            (self.assertion is None or flag.assertion == self.assertion)
            and (self.pipeline is None or flag.pipeline == self.pipeline)
            and flag.severity >= self.min_severity
            and (self.tag is None or self.tag in flag.data.assertion.tags)
            and not (self.standing_only and flag.state is not FlagState.STANDING)
        )


@dataclass(slots=True)
class HeldBack:
    """Counts by assertion."""

    repeated: Counter[str] = field(default_factory=Counter)
    """Further states of a flag that was delivered: it stands, or its severity changed."""
    limited: Counter[str] = field(default_factory=Counter)
    """Over the rate."""


class Sieve:
    """A flag is delivered once; its withdrawal too, if it had been delivered."""

    def __init__(self, only: AlertFilter, per_minute: float | None = None) -> None:
        """per_minute: most alerts of one assertion; a burst of as many may come at once."""
        self.only: Final = only
        self.held_back: Final = HeldBack()
        self._per_minute = per_minute
        self._room: dict[str, tuple[float, float]] = {}
        self._delivered: OrderedDict[str, None] = OrderedDict()

    def admits(self, flag: Flag, now: float) -> bool:
        """now: seconds, monotonic."""
        if flag.id in self._delivered:
            if flag.state is FlagState.WITHDRAWN:
                del self._delivered[flag.id]
                return True
            self.held_back.repeated[flag.assertion] += 1
            return False
        if flag.state is FlagState.WITHDRAWN or not self.only.admits(flag):
            return False
        if not self._has_room(flag.assertion, now):
            self.held_back.limited[flag.assertion] += 1
            return False
        self._delivered[flag.id] = None
        if len(self._delivered) > REMEMBERED_MAX:
            self._delivered.popitem(last=False)
        return True

    def _has_room(self, assertion: str, now: float) -> bool:
        if self._per_minute is None:
            return True
        room, at = self._room.get(assertion, (self._per_minute, now))
        room = min(self._per_minute, room + (now - at) * self._per_minute / 60)
        has_room = room >= 1
        self._room[assertion] = (room - 1 if has_room else room, now)
        return has_room
