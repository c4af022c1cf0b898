"""Several assertions over one log of events: the fold that is the same online, over history and over a file."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from assertions.core.consistency import Step, WeakLabel
from assertions.core.definition import Assertion, Member
from assertions.core.evaluator import Evaluator, Task
from assertions.core.flag import Flag
from assertions.core.observation import Closed, Event, Observation, Seen, Superseded, Watermark
from assertions.core.severity import Broken, Outcome


class Judging(Protocol):
    """Calls users' functions, and answers for what they do."""

    def keys(self, wanted: Sequence[tuple[Assertion, Member]]) -> Sequence[tuple[str, ...] | Broken]:
        """`assertion.keys(member)` of each, or how that failed. Never raises."""
        ...

    def outcomes(self, tasks: Sequence[Task]) -> Sequence[Outcome | Step]:
        """One for each task, in order. Never raises."""
        ...

    def weak_label(self, assertion: Assertion) -> WeakLabel | None:
        """Its rule's `weak_label`, if it has one. The function given raises BrokenError where that fails."""
        ...


class Engine:
    """Evaluators of several assertions, fed by one ordered log.

    `take` gives the flags that changed. The watermark follows the largest event time seen, less each assertion's
    lateness; `Watermark` events move it where no observation comes.
    """

    def __init__(
        self,
        assertions: Iterable[Assertion],
        judging: Judging,
        *,
        context_before: Mapping[str, float] | None = None,
    ) -> None:
        """context_before: assertion name → frontier of a checkpoint, after a restart."""
        known = context_before or {}
        self._judging = judging
        self._evaluators = {
            a.name: Evaluator(a, context_before=known.get(a.name, -math.inf), weak_label=judging.weak_label(a))
            for a in assertions
        }
        self._watching: dict[tuple[str, tuple[str, ...]], list[Evaluator]] = defaultdict(list)
        for evaluator in self._evaluators.values():
            self._watching[evaluator.assertion.pipeline, evaluator.assertion.stages].append(evaluator)
        self._seen_by: dict[str, list[Evaluator]] = {}
        self.latest = -math.inf
        """Largest event time so far, seconds."""

    @property
    def evaluators(self) -> Mapping[str, Evaluator]:
        return self._evaluators

    def watched(self, observation: Observation) -> list[Evaluator]:
        """Those that look at such an observation now."""
        watching = self._watching.get((observation.pipeline, observation.stages), ())
        return [e for e in watching if observation.is_complete or e.assertion.is_early]

    def take(self, events: Iterable[Event]) -> list[Flag]:
        """Absorb a batch and judge what it makes due. The same final flags however the log is cut into batches."""
        listed = list(events)
        members = [Member(event.observation) for event in listed if isinstance(event, Seen)]
        looks = [(evaluator, member) for member in members for evaluator in self.watched(member.observation)]
        found = iter(self._judging.keys([(evaluator.assertion, member) for evaluator, member in looks]))
        coming = iter(members)
        for event in listed:
            if isinstance(event, Watermark):
                self._advance(event.time)
            elif isinstance(event, Seen):
                self._see(next(coming), event.stands, found)
                self._advance(event.observation.time)
            else:
                self.end(event)
        return self._settle()

    def end(self, event: Closed | Superseded) -> None:
        """An observation stands now, or never happened."""
        for evaluator in self._evaluators.values():
            if evaluator.holds(event.observation_id):
                evaluator.absorb(event)

    def advance(self, time: float) -> None:
        self._advance(time)

    def settle(self) -> list[Flag]:
        return self._settle()

    def finish(self) -> list[Flag]:
        """The end of a file or range: nothing else comes."""
        self._advance(math.inf)
        return self._settle()

    def _see(self, member: Member, stands: bool, found: Iterator[tuple[str, ...] | Broken]) -> None:
        for evaluator in self.watched(member.observation):
            keys = next(found)
            if isinstance(keys, Broken):
                evaluator.health.count(keys)
            else:
                evaluator.see(member, keys, stands)

    def _advance(self, time: float) -> None:
        if time > self.latest:
            self.latest = time
            for evaluator in self._evaluators.values():
                evaluator.absorb(Watermark(time - evaluator.assertion.lateness))

    def _settle(self) -> list[Flag]:
        tasks = [task for evaluator in self._evaluators.values() for task in evaluator.due()]
        if tasks:
            for task, outcome in zip(tasks, self._judging.outcomes(tasks), strict=True):
                self._evaluators[task.assertion.name].settle(task, outcome)
        return [flag for evaluator in self._evaluators.values() for flag in evaluator.changes()]
