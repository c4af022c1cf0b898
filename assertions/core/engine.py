"""Several assertions over one log of events: the fold that is the same online, over history and over a file."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from assertions.core.consistency import Step, WeakLabel
from assertions.core.definition import Assertion, Member, home
from assertions.core.evaluator import Evaluator
from assertions.core.flag import Flag
from assertions.core.observation import Closed, Event, Observation, Seen, Superseded, Watermark
from assertions.core.severity import Broken, Outcome
from assertions.core.timeline import Fresh, Look


class Judging(Protocol):
    """Calls users' functions, and answers for what they do. All that one assertion is to do now is asked together."""

    def keys(
        self, wanted: Sequence[tuple[Assertion, Sequence[Member]]]
    ) -> Sequence[Sequence[tuple[str, ...] | Broken]]:
        """`assertion.keys(member)` of each, or how that failed. Never raises."""
        ...

    def outcomes(self, wanted: Sequence[tuple[Assertion, Sequence[Look]]]) -> Sequence[Sequence[Outcome | Step]]:
        """What came of judging `member` of each, having seen `before`; of a rule its outputs. Never raises."""
        ...

    def weak_label(self, assertion: Assertion) -> WeakLabel | None:
        """Its rule's `weak_label`, if it has one. The function given raises BrokenError where that fails."""
        ...


class _Watching:
    """The evaluators of one kind of observation, and those observations that none of them keeps yet."""

    def __init__(self, evaluators: Iterable[Evaluator]) -> None:
        self.keyed: dict[str, Evaluator] = {}
        self.unkeyed: list[Evaluator] = []
        for evaluator in evaluators:
            if evaluator.assertion.is_keyed:
                self.keyed[evaluator.assertion.name] = evaluator
            else:
                self.unkeyed.append(evaluator)
        self.windowed = [each for each in self.unkeyed if each.has_windows]
        self.plain = [each for each in self.unkeyed if not each.has_windows]
        self.fresh: dict[str, Fresh] = {}

    def see(self, member: Member, stands: bool) -> None:
        """What belongs to no window but its request's."""
        observation = member.observation
        keys = (home(observation),)
        if not observation.is_complete:
            for evaluator in self.unkeyed:
                if evaluator.assertion.is_early:
                    evaluator.see(member, keys, stands)
            return
        for evaluator in self.windowed:
            evaluator.see(member, keys, stands)
        known = [evaluator for evaluator in self.plain if observation.id in evaluator.entries]
        for evaluator in known:
            evaluator.see(member, keys, stands)
        if len(known) < len(self.plain):
            names = [evaluator.assertion.name for evaluator in known]
            self.fresh[observation.id] = Fresh(member, stands, names)

    def take_fresh(self) -> Iterable[tuple[Evaluator, list[Fresh]]]:
        fresh, self.fresh = list(self.fresh.values()), {}
        known = {name for each in fresh for name in each.known_to}
        for evaluator in self.plain if fresh else ():
            name = evaluator.assertion.name
            yield evaluator, [each for each in fresh if name not in each.known_to] if name in known else fresh


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
        watching: dict[tuple[str, tuple[str, ...]], list[Evaluator]] = defaultdict(list)
        for evaluator in self._evaluators.values():
            watching[evaluator.assertion.pipeline, evaluator.assertion.stages].append(evaluator)
        self._watching = {watched: _Watching(evaluators) for watched, evaluators in watching.items()}
        self.latest = -math.inf
        """Largest event time so far, seconds."""

    @property
    def evaluators(self) -> Mapping[str, Evaluator]:
        return self._evaluators

    def take(self, events: Iterable[Event]) -> list[Flag]:
        """Absorb a batch and judge what it makes due. The same final flags however the log is cut into batches."""
        listed = list(events)
        members = [Member(event.observation) for event in listed if isinstance(event, Seen)]
        keys = iter(keys_of(self._judging, [(member, self._keyed(member.observation)) for member in members]))
        coming = iter(members)
        for event in listed:
            if isinstance(event, Watermark):
                self.advance(event.time)
            elif isinstance(event, Seen):
                found: dict[str, tuple[str, ...]] = {}
                for name, of_one in next(keys).items():
                    if isinstance(of_one, Broken):
                        self._evaluators[name].health.count([of_one])
                    else:
                        found[name] = of_one
                self.see(next(coming), found, stands=event.stands)
                self.advance(event.observation.time)
            else:
                self.end(event)
        return self.settle()

    def _keyed(self, observation: Observation) -> list[Assertion]:
        watching = self._watching.get((observation.pipeline, observation.stages))
        keyed = watching.keyed.values() if watching is not None else ()
        return [each.assertion for each in keyed if observation.is_complete or each.assertion.is_early]

    def see(
        self, member: Member, keyed: Mapping[str, Sequence[str]], *, is_home: bool = True, stands: bool = False
    ) -> None:
        """Take an observation. keyed: assertion → those of its windows that are judged here; is_home: what belongs to
        no other window than its request's is judged here as well."""
        observation = member.observation
        watching = self._watching.get((observation.pipeline, observation.stages))
        if watching is None:
            return
        for name, keys in keyed.items():
            evaluator = watching.keyed.get(name)
            if evaluator is not None and (observation.is_complete or evaluator.assertion.is_early):
                evaluator.see(member, keys, stands)
        if is_home:
            watching.see(member, stands)

    def end(self, event: Closed | Superseded) -> None:
        """An observation stands now, or never happened."""
        name, is_closed = event.observation_id, isinstance(event, Closed)
        for watching in self._watching.values():
            if name in watching.fresh:
                if is_closed:
                    watching.fresh[name].stands = True
                else:
                    del watching.fresh[name]
        for evaluator in [each for each in self._evaluators.values() if name in each.entries]:
            if is_closed:
                evaluator.close(name)
            else:
                evaluator.supersede(name)

    def advance(self, time: float) -> None:
        if time > self.latest:
            self.latest = time
            for evaluator in self._evaluators.values():
                evaluator.advance(time - evaluator.assertion.lateness)

    def finish(self) -> list[Flag]:
        """The end of a file or range: nothing else comes."""
        self.advance(math.inf)
        return self.settle()

    def settle(self) -> list[Flag]:
        """Judge what is due; the flags that changed."""
        fresh = [each for watching in self._watching.values() for each in watching.take_fresh()]
        due = [(evaluator, entries) for evaluator in self._evaluators.values() if (entries := evaluator.due())]
        if fresh or due:
            asked: list[tuple[Assertion, Sequence[Look]]] = [(each.assertion, looks) for each, looks in fresh]
            asked += [(each.assertion, entries) for each, entries in due]
            outcomes = iter(self._judging.outcomes(asked))
            for evaluator, looks in fresh:
                evaluator.settle_fresh(looks, next(outcomes))
            for evaluator, entries in due:
                evaluator.settle(entries, next(outcomes))
        return [flag for evaluator in self._evaluators.values() for flag in evaluator.changes()]


def keys_of(
    judging: Judging, looking: Sequence[tuple[Member, Sequence[Assertion]]]
) -> list[dict[str, tuple[str, ...] | Broken]]:
    """For each member the keys of these assertions, by name. All of one assertion's are asked for together."""
    wanted: dict[str, tuple[Assertion, list[Member]]] = {}
    found: list[dict[str, tuple[str, ...] | Broken]] = [{} for _ in looking]
    places: dict[str, list[dict[str, tuple[str, ...] | Broken]]] = defaultdict(list)
    for (member, assertions), there in zip(looking, found, strict=True):
        for assertion in assertions:
            wanted.setdefault(assertion.name, (assertion, []))[1].append(member)
            places[assertion.name].append(there)
    if wanted:
        for name, keys in zip(wanted, judging.keys(list(wanted.values())), strict=True):
            for there, of_one in zip(places[name], keys, strict=True):
                there[name] = of_one
    return found
