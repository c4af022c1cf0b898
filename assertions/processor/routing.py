"""Which partitions of the observation log an event goes to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from assertions.core.definition import Assertion, Member, home
from assertions.core.engine import Judging, keys_of
from assertions.core.log import Logged, Routed, Unkeyed, partition_of
from assertions.core.observation import Event, Observation, Seen, Watermark
from assertions.core.severity import Broken


class Routes:
    """Finds keys, and remembers where an open observation went, so that its end goes there too."""

    def __init__(self, assertions: Iterable[Assertion], partitions: int, judging: Judging) -> None:
        self._watching: dict[tuple[str, tuple[str, ...]], list[Assertion]] = defaultdict(list)
        for assertion in assertions:
            self._watching[assertion.pipeline, assertion.stages].append(assertion)
        self._partitions = partitions
        self._judging = judging
        # Where an assertion keeps a window for each request, all of a request must be in one place; where one judges
        # a text that grows, its place must not depend on keys that are found when it is whole.
        self._is_at_request = {
            watched
            for watched, listed in self._watching.items()
            if any(each.is_early or (each.window is not None and not each.is_keyed) for each in listed)
        }
        self._sent: dict[str, set[int]] = {}

    def route(self, events: Iterable[Event]) -> Iterator[tuple[int, Logged]]:
        """In order. All keys are asked for at once."""
        listed = list(events)
        seen = [event.observation for event in listed if isinstance(event, Seen)]
        found = iter(keys_of(self._judging, [(Member(each), self._keyed(each)) for each in seen]))
        for event in listed:
            match event:
                case Seen(observation=observation):
                    yield from self._seen(observation, next(found))
                case Watermark():
                    pass
                case _:
                    for partition in sorted(self._sent.pop(event.observation_id, ())):
                        yield partition, event

    def _looking(self, observation: Observation) -> list[Assertion]:
        watching = self._watching.get((observation.pipeline, observation.stages), ())
        return [each for each in watching if observation.is_complete or each.is_early]

    def _keyed(self, observation: Observation) -> list[Assertion]:
        return [each for each in self._looking(observation) if each.is_keyed]

    def _seen(
        self, observation: Observation, found: Mapping[str, tuple[str, ...] | Broken]
    ) -> Iterator[tuple[int, Logged]]:
        watched = (observation.pipeline, observation.stages)
        at_home = partition_of(home(observation), self._partitions)
        keyed: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        is_plain = False
        for assertion in self._looking(observation):
            if not assertion.is_keyed:
                is_plain = True
                continue
            keys = found[assertion.name]
            if isinstance(keys, Broken):
                yield at_home, Unkeyed(assertion.name, keys)
                continue
            for key in keys:
                # By the key alone: assertions that look at one thing share one copy of the example.
                keyed[partition_of(key, self._partitions)][assertion.name].append(key)
        if keyed and watched not in self._is_at_request:
            at_home = min(keyed)
        places = set(keyed) | ({at_home} if is_plain else set())
        if places:
            self._sent.setdefault(observation.id, set()).update(places)
        for p in sorted(places):
            yield p, Routed(observation, is_plain and p == at_home, {n: tuple(k) for n, k in keyed.get(p, {}).items()})
