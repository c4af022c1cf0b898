"""One partition of the observation log, folded into flags; and what a successor must know to fold on.

A restart reads the log again from `low` and judges again what was not final at the checkpoint (`frontiers`), with the
same windows, because `low` reaches back as far as any of those windows do.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from assertions.core.definition import Assertion, Member
from assertions.core.engine import Engine, Judging
from assertions.core.flag import Flag
from assertions.core.log import Batch, Routed, Unkeyed
from assertions.core.observation import Closed, Superseded


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Small enough to be written every second."""

    low: int = 0
    """The oldest offset of the log that is still needed."""
    watermark: float = -math.inf
    """Before the record at `low` was read: decides again what was late."""
    since: float = 0.0
    """When the record at `low` was first folded, wall clock seconds: flags of a replay are not older."""
    frontiers: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "low": self.low,
            "watermark": _finite(self.watermark),
            "since": _finite(self.since),
            "frontiers": {name: _finite(time) for name, time in self.frontiers.items()},
        }

    @staticmethod
    def from_json(given: Mapping[str, Any]) -> Checkpoint:
        return Checkpoint(
            low=int(given["low"]),
            watermark=_infinite(given["watermark"]),
            since=_infinite(given["since"]),
            frontiers={name: _infinite(time) for name, time in given["frontiers"].items()},
        )


@dataclass(slots=True, eq=False)
class _Needed:
    offset: int
    latest: float
    """Event time of its latest observation."""
    watermark: float
    since: float
    open: int = 0


class Fold:
    def __init__(self, assertions: Iterable[Assertion], judging: Judging, start: Checkpoint | None = None) -> None:
        start = start or Checkpoint()
        self.engine = Engine(assertions, judging, context_before=start.frontiers)
        self._watermark = start.watermark
        if math.isfinite(start.watermark):
            self.engine.advance(start.watermark)
        self._next = start.low
        self._needed: deque[_Needed] = deque()
        self._open: dict[str, _Needed] = {}

    def take(self, offset: int, batch: Batch, now: float) -> list[Flag]:
        """Fold the record at `offset`; now: wall clock seconds, for the checkpoint alone."""
        return self.take_all([(offset, batch)], now)

    def take_all(self, records: Iterable[tuple[int, Batch]], now: float) -> list[Flag]:
        """Fold several and judge once: what a look at every assertion costs is shared. The flags that stand are the
        same; one that was raised and withdrawn within these records is not seen at all."""
        for offset, batch in records:
            self._absorb_all(offset, batch, now)
        return self.engine.settle()

    def _absorb_all(self, offset: int, batch: Batch, now: float) -> None:
        needed = _Needed(offset, -math.inf, self._watermark, now)
        for event in batch.events:
            self._absorb(event, needed)
        self._needed.append(needed)
        self._next = offset + 1
        self._watermark = max(self._watermark, batch.watermark)
        self.engine.advance(batch.watermark)

    def _absorb(self, event: Routed | Superseded | Closed | Unkeyed, needed: _Needed) -> None:
        match event:
            case Routed(observation, is_plain, keyed):
                self.engine.see(Member(observation), keyed, is_home=is_plain)
                needed.latest = max(needed.latest, observation.time)
                if observation.id not in self._open:
                    self._open[observation.id] = needed
                    needed.open += 1
            case Unkeyed(assertion, fault):
                if assertion in self.engine.evaluators:
                    self.engine.evaluators[assertion].health.count([fault])
            case _:
                self.engine.end(event)
                if (was := self._open.pop(event.observation_id, None)) is not None:
                    was.open -= 1

    def checkpoint(self) -> Checkpoint:
        frontiers = {name: e.frontier for name, e in self.engine.evaluators.items()}
        horizon = min((e.needed_from for e in self.engine.evaluators.values() if e.has_windows), default=math.inf)
        while self._needed and not self._needed[0].open and self._needed[0].latest < horizon:
            self._needed.popleft()
        if not self._needed:
            return Checkpoint(self._next, self._watermark, math.inf, frontiers)
        first = self._needed[0]
        return Checkpoint(first.offset, first.watermark, first.since, frontiers)


def _finite(number: float) -> float | str:
    return number if math.isfinite(number) else str(number)


def _infinite(given: float | str) -> float:
    return float(given)
