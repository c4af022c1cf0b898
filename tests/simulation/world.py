"""Virtual time and the scheduler: one step of one actor at a time, chosen by a seeded generator."""

from __future__ import annotations

import heapq
from collections import Counter
from random import Random
from typing import Any, Protocol

from tests.simulation.broker import Broker, Record, Txn
from tests.simulation.rules import Rules
from tests.simulation.truth import Truth


class Actor(Protocol):
    def run(self, rng: Random) -> bool:
        """Do one thing; False when there is nothing to do until somebody wakes this actor."""


class World:
    def __init__(self, seed: int, rules: Rules) -> None:
        self.step = 0
        self.rng = Random(seed)  # noqa: S311 - a schedule, not a secret
        self.rules = rules
        self.truth = Truth()
        self.broker = Broker(self)
        self.lines: list[tuple[int, object, str, tuple[Any, ...]]] = []
        self.complaints: list[tuple[int, str]] = []
        self.refusals: list[tuple[int, str]] = []
        """Processes that ended, or did not start, and said why: an operator has to act, nothing is skipped."""
        self.counts: Counter[str] = Counter()
        """How often each of tests.simulation.census.SITUATIONS came about."""
        self.actors: list[Actor] = []
        self.now_ms = 1_000_000
        self.lag = 0
        """Longest wait between two things that land from one wire."""
        self.slow_replay = 0
        """Longest wait between two reads of a slot that replays."""
        self._ready: list[Actor] = []
        self._is_ready: set[int] = set()
        self._timers: list[tuple[int, int, Actor]] = []
        self._timer_count = 0

    # -- scheduling ------------------------------------------------------------------------------------------------

    def wake(self, actor: Actor) -> None:
        if id(actor) not in self._is_ready:
            self._is_ready.add(id(actor))
            self._ready.append(actor)

    def wake_all(self) -> None:
        for actor in self.actors:
            self.wake(actor)

    def at(self, step: int, actor: Actor) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (step, self._timer_count, actor))

    def run_one(self) -> bool:
        """Let one ready actor act. False when nothing can happen any more."""
        self.step += 1
        timers, ready = self._timers, self._ready
        while True:
            while timers and timers[0][0] <= self.step:
                self.wake(heapq.heappop(timers)[2])
            if not ready:
                if not timers:
                    return False
                self.step = timers[0][0]
                continue
            chosen = int(self.rng.random() * len(ready))
            actor = ready[chosen]
            if actor.run(self.rng):
                return True
            # It may have been woken by itself meanwhile, but then it would have had something to do.
            last = ready.pop()
            if last is not actor:
                ready[ready.index(actor)] = last
            self._is_ready.discard(id(actor))

    def timeout(self, txn: Txn, steps_max: int) -> None:
        """The broker aborts a transaction that nobody ends."""
        raise NotImplementedError

    # -- history ---------------------------------------------------------------------------------------------------

    def note(self, who: object, text: str, *args: Any) -> None:
        self.lines.append((self.step, who, text, args))

    def complain(self, text: str) -> None:
        """Something that no correct history holds, seen on the way."""
        self.complaints.append((self.step, text))

    def count(self, situation: str) -> None:
        self.counts[situation] += 1

    @property
    def epoch_clock(self) -> int:
        """Unix seconds, for a slot without metadata."""
        return 100 + self.step


def describe(value: object) -> str:
    if isinstance(value, Record):
        e = value.envelope
        if e is None:
            return f"key={value.key!r} {value.value!r}"
        parts = [e.kind.value, e.id]
        if e.serial is not None:
            parts.append(str(e.serial))
        if e.stage:
            lin = ",".join(f"{r[0]}-{r[1]}" if r else "_" for r in e.lin)
            parts.append(f"{e.stage}@{'.'.join(map(str, e.path)) or '()'} lin={lin}")
        if e.w is not None:
            parts.append(f"base={e.base} w={e.w} pos={e.position}")
        if e.kind.value == "end":
            parts.append(f"count={e.total}")
        if e.digests:
            parts.append(f"digests={e.digests}")
        if value.value is not None:
            parts.append(value.value.decode(errors="replace")[:60])
        return " ".join(parts)
    return str(value)
