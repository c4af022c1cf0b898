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
    named: Counter[str] = field(default_factory=Counter)
    """The other sides of a disagreement that was delivered: two answers that differ are two flags and one alert."""
    limited: Counter[str] = field(default_factory=Counter)
    """Over the rate."""

    def clear(self) -> None:
        for counts in (self.repeated, self.named, self.limited):
            counts.clear()


@dataclass(slots=True)
class _Delivered:
    sides: tuple[tuple[str, str, str], ...]
    """What the alert named besides its own example, as keys of `Sieve._named`."""
    behind: dict[str, Flag] = field(default_factory=dict)
    """Held back because it was named: id → newest state. They come forward when the alert is withdrawn."""


class Sieve:
    """A flag is delivered once; its withdrawal too, if it had been delivered."""

    def __init__(self, only: AlertFilter, per_minute: float | None = None) -> None:
        """per_minute: most alerts of one assertion; a burst of as many may come at once."""
        self.only: Final = only
        self.held_back: Final = HeldBack()
        self._per_minute = per_minute
        self._room: dict[str, tuple[float, float]] = {}
        self._limited: OrderedDict[str, None] = OrderedDict()
        """Ids held back over the rate, so that each is counted once."""
        self._delivered: OrderedDict[str, _Delivered] = OrderedDict()
        self._named: dict[tuple[str, str, str], str] = {}
        """(assertion, rule, observation) → the delivered flag that names this observation."""

    def take(self, flag: Flag, now: float) -> tuple[Flag, ...]:
        """What to deliver now; now: seconds, monotonic. More than one only when an alert is withdrawn that stood for
        others."""
        is_withdrawn = flag.state is FlagState.WITHDRAWN
        if flag.id in self._delivered:
            if is_withdrawn:
                return flag, *self._come_forward(self._forget(flag.id), now)
            self.held_back.repeated[flag.assertion] += 1
            return ()
        front = self._delivered.get(self._named.get(_side(flag, flag.observation), ""))
        if is_withdrawn:
            if front is not None:
                front.behind.pop(flag.id, None)
            return ()
        if not self.only.admits(flag):
            return ()
        if front is not None:
            self.held_back.named[flag.assertion] += flag.id not in front.behind
            front.behind[flag.id] = flag
            return ()
        if not self._has_room(flag.assertion, now):
            self.held_back.limited[flag.assertion] += flag.id not in self._limited
            self._limited[flag.id] = None
            if len(self._limited) > REMEMBERED_MAX:
                self._limited.popitem(last=False)
            return ()
        self._remember(flag)
        return (flag,)

    def _remember(self, flag: Flag) -> None:
        # Only a rule with a subject of its own ("attr.capital:Bolivia") can flag the examples that it names as well.
        sides = tuple(_side(flag, each) for each in flag.data.window) if flag.data.assertion.rule else ()
        self._delivered[flag.id] = _Delivered(sides)
        for side in sides:
            self._named.setdefault(side, flag.id)
        if len(self._delivered) > REMEMBERED_MAX:
            self._forget(next(iter(self._delivered)))

    def _forget(self, flag_id: str) -> _Delivered:
        gone = self._delivered.pop(flag_id)
        for side in gone.sides:
            if self._named.get(side) == flag_id:
                del self._named[side]
        return gone

    def _come_forward(self, gone: _Delivered, now: float) -> list[Flag]:
        return [shown for flag in gone.behind.values() for shown in self.take(flag, now)]

    def _has_room(self, assertion: str, now: float) -> bool:
        if self._per_minute is None:
            return True
        room, at = self._room.get(assertion, (self._per_minute, now))
        room = min(self._per_minute, room + (now - at) * self._per_minute / 60)
        has_room = room >= 1
        self._room[assertion] = (room - 1 if has_room else room, now)
        return has_room


def _side(flag: Flag, observation: str) -> tuple[str, str, str]:
    return flag.assertion, flag.data.assertion.rule, observation
