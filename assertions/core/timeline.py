"""The observations of one key in event-time order, and which of them can still change."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeAlias

from assertions.core.consistency import Step
from assertions.core.definition import Assertion, Member
from assertions.core.flag import Flag
from assertions.core.observation import Observation
from assertions.core.severity import Finding
from assertions.core.window import HORIZON_SECONDS


@dataclass(slots=True, eq=False)
class Fresh:
    """A whole observation that no window holds, for all assertions that look at it. Nearly always all of them find
    nothing, and then nothing is kept: an entry for each made 20 assertions cost 560 of 990 µs an item."""

    member: Member
    stands: bool
    known_to: Sequence[str] = ()
    """Assertions that keep an entry of it, and take it as what becomes of that."""
    before: ClassVar[tuple[Member, ...]] = ()


_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(slots=True, eq=False, init=False)
class Entry:
    """What one assertion keeps of an observation under one key."""

    member: Member
    stands: bool
    key: str
    before: tuple[Member, ...]
    """What it is to be judged on, while it is due."""
    is_due: bool
    is_touched: bool
    """Something about it changed since the last look for changes."""
    is_final: bool
    is_context: bool
    """Was final before a restart: fills windows and is not judged again."""
    step: Step | None
    window: tuple[str, ...]
    findings: Mapping[str, Finding]
    published: Mapping[str, Flag]
    # Of the member, made once: a timeline asks for them at every step.
    observation: Observation
    time: float
    order: tuple[float, str]

    def __init__(self, member: Member, stands: bool, key: str) -> None:
        # By hand: one is made for each windowed assertion and item, and a generated one takes twice as long.
        self.member, self.stands, self.key = member, stands, key
        self.before = self.window = ()
        self.is_due = self.is_touched = self.is_final = self.is_context = False
        self.step = None
        self.findings = self.published = _NONE
        self.observation = observation = member.observation
        self.time = observation.time
        self.order = observation.order


Look: TypeAlias = Fresh | Entry
"""What an assertion judges: a `member`, having seen those `before`."""

_order = attrgetter("order")
_time = attrgetter("time")


class Timeline:
    """Entries of one key, sorted. The final ones come first: what is final is earlier than all that may still come."""

    __slots__ = ("entries", "finals", "partials")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.finals = 0
        self.partials = 0
        """Entries that are not complete: nearly always none, and then windows by count need no walk."""

    def insert(self, entry: Entry) -> int:
        self.partials += not entry.observation.is_complete
        if not self.entries or self.entries[-1].order < entry.order:  # as they nearly always come
            self.entries.append(entry)
            return len(self.entries) - 1
        at = bisect_left(self.entries, entry.order, key=_order)
        self.entries.insert(at, entry)
        return at

    def find(self, entry: Entry) -> int:
        if self.entries and self.entries[-1] is entry:
            return len(self.entries) - 1
        return bisect_left(self.entries, entry.order, key=_order)

    def remove(self, entry: Entry) -> int:
        """The place it had. Only what is not final may be removed."""
        at = self.find(entry)
        self._drop(at, at + 1)
        return at

    def remove_first(self) -> Entry:
        return self._drop(0, 1)[0]

    def _drop(self, start: int, end: int) -> list[Entry]:
        dropped = self.entries[start:end]
        del self.entries[start:end]
        self.finals -= max(0, min(end, self.finals) - start)
        if self.partials:
            self.partials -= sum(not entry.observation.is_complete for entry in dropped)
        return dropped

    def before(self, entry: Entry, assertion: Assertion) -> tuple[Member, ...]:
        """The window of an entry: complete observations before it, oldest first."""
        spec = assertion.window
        if spec is None:
            return ()
        at = self.find(entry)
        if spec.count is not None:
            nearest = self.entries[max(0, at - spec.count) : at]
            # Nearly always all of these are whole and near enough: no need to walk.
            if not nearest or not (self.partials or entry.time - nearest[0].time > spec.seconds):
                return tuple([each.member for each in nearest])
        window: list[Member] = []
        for earlier in self.entries[at - 1 :: -1] if at else ():
            if entry.time - earlier.time > spec.seconds or len(window) == spec.count:
                break
            if earlier.observation.is_complete:
                window.append(earlier.member)
        window.reverse()
        return tuple(window)

    def after(self, at: int, assertion: Assertion) -> list[Entry]:
        """The entries whose windows hold the entry at this place, or lose it when it goes."""
        spec = assertion.window
        if spec is None or at + 1 == len(self.entries):
            return []
        moved = self.entries[at]
        found: list[Entry] = []
        complete = 0
        for entry in self.entries[at + 1 :]:
            if entry.time - moved.time > spec.seconds or (spec.count is not None and complete > spec.count):
                break
            complete += entry.observation.is_complete
            if not entry.is_final:
                found.append(entry)
        return found

    def finish(self, watermark: float, ahead: float) -> tuple[list[Entry], float]:
        """Mark final what nothing can change any more; those entries, and the watermark to look again at (or inf).

        An entry is final when every entry up to `ahead` seconds after it stands and no other can come there.
        """
        finished: list[Entry] = []
        blocked = -1
        while self.finals < len(self.entries):
            entry = self.entries[self.finals]
            until = entry.time + ahead
            if not until < watermark:
                return finished, until
            blocked = max(blocked, self.finals)
            while blocked < len(self.entries) and self.entries[blocked].stands:
                if self.entries[blocked].time > until:
                    break
                blocked += 1
            if blocked < len(self.entries) and self.entries[blocked].time <= until:
                return finished, math.inf
            entry.is_final = True
            self.finals += 1
            finished.append(entry)
        return finished, math.inf

    def prune(self, watermark: float, assertion: Assertion) -> list[Entry]:
        """Remove and return what no window of a present or coming observation can hold."""
        if not self.finals:
            return []
        first = self.entries[self.finals].time if self.finals < len(self.entries) else math.inf
        first = min(first, watermark)
        oldest = first - reach(assertion)
        keep = 0
        if self.entries[0].time < oldest:
            keep = min(self.finals, bisect_left(self.entries, oldest, key=_time))
        if assertion.rule is not None:
            # A transition needs the step before the first one within reach.
            if assertion.rule.transitions and keep and first - self.entries[keep - 1].time <= HORIZON_SECONDS:
                keep = bisect_left(self.entries, self.entries[keep - 1].time, key=_time)
        elif assertion.window is not None and assertion.window.count is not None:
            missing = assertion.window.count
            at = self.finals if self.partials else max(keep, self.finals - missing)
            while self.partials and at > keep and missing:
                at -= 1
                missing -= self.entries[at].observation.is_complete
            keep = max(keep, at)
        return self._drop(0, keep) if keep else []


def reach(assertion: Assertion) -> float:
    """Seconds before an observation that judging it may look at."""
    if assertion.rule is not None:
        return assertion.rule.within
    return assertion.window.seconds if assertion.window is not None else 0.0


def ahead(assertion: Assertion) -> float:
    """Seconds after an observation that judging it may look at."""
    return assertion.rule.within if assertion.rule is not None else 0.0
