"""Which partitions of the observation log an event goes to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from assertions.core.definition import Assertion, Member, home
from assertions.core.engine import Judging, keys_of
from assertions.core.log import Logged, Routed, Unkeyed, partition_of
from assertions.core.observation import Event, Observation, Seen, Watermark
from assertions.core.severity import Broken


class _Watching:
    """The assertions that look at one kind of observation, whole or still growing."""

    def __init__(self, assertions: Sequence[Assertion], *, is_complete: bool) -> None:
        looking = [each for each in assertions if is_complete or each.is_early]
        self.keyed: Final = [each for each in looking if each.is_keyed]
        self.has_plain: Final = len(self.keyed) < len(looking)
        # Where an assertion keeps a window for each request, all of a request must be in one place; where one judges
        # a text that grows, its place must not depend on keys that are found when it is whole.
        self.is_at_request: Final = any(
            each.is_early or (each.window is not None and not each.is_keyed) for each in assertions
        )


class Routes:
    """Finds keys, and remembers where an open observation went, so that its end goes there too."""

    def __init__(self, assertions: Iterable[Assertion], partitions: int, judging: Judging) -> None:
        listed: dict[tuple[str, tuple[str, ...]], list[Assertion]] = defaultdict(list)
        for assertion in assertions:
            listed[assertion.pipeline, assertion.stages].append(assertion)
        self._watching: Final = {
            (*watched, is_complete): _Watching(of_these, is_complete=is_complete)
            for watched, of_these in listed.items()
            for is_complete in (True, False)
        }
        self._partitions: Final = partitions
        self._judging: Final = judging
        self._sent: Final[dict[str, set[int]]] = {}

    def route(self, events: Iterable[Event]) -> Iterator[tuple[int, Logged]]:
        """In order. All keys are asked for at once."""
        listed = list(events)
        seen = [
            (event.observation, watching)
            for event in listed
            if isinstance(event, Seen) and (watching := self._looking(event.observation)) is not None
        ]
        found = iter(keys_of(self._judging, [(Member(each), watching.keyed) for each, watching in seen]))
        for event in listed:
            if isinstance(event, Seen):
                if (watching := self._looking(event.observation)) is not None:
                    yield from self._seen(event.observation, watching, next(found))
            elif not isinstance(event, Watermark):
                for partition in sorted(self._sent.pop(event.observation_id, ())):
                    yield partition, event

    def _looking(self, observation: Observation) -> _Watching | None:
        return self._watching.get((observation.pipeline, observation.stages, observation.is_complete))

    def _seen(
        self, observation: Observation, watching: _Watching, found: Mapping[str, tuple[str, ...] | Broken]
    ) -> Iterator[tuple[int, Logged]]:
        at_home = partition_of(home(observation), self._partitions)
        keyed: dict[int, dict[str, tuple[str, ...]]] = {}
        spread: dict[tuple[str, ...], dict[int, tuple[str, ...]]] = {}
        for name, keys in found.items():
            if isinstance(keys, Broken):
                yield at_home, Unkeyed(name, keys)
                continue
            if keys not in spread:  # assertions that look at one thing nearly always have the same keys
                spread[keys] = self._spread(keys)
            for partition, there in spread[keys].items():
                keyed.setdefault(partition, {})[name] = there
        if keyed and not watching.is_at_request:
            at_home = min(keyed)
        places = {*keyed, at_home} if watching.has_plain else set(keyed)
        if places:
            self._sent.setdefault(observation.id, set()).update(places)
        for p in sorted(places):
            yield p, Routed(observation, watching.has_plain and p == at_home, keyed.get(p, {}))

    def _spread(self, keys: Sequence[str]) -> dict[int, tuple[str, ...]]:
        """By the key alone: assertions that look at one thing share one copy of the example."""
        found: dict[int, tuple[str, ...]] = {}
        for key in keys:
            partition = partition_of(key, self._partitions)
            found[partition] = (*found.get(partition, ()), key)
        return found
