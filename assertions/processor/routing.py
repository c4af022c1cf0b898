"""Which partitions of the observation log an event goes to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from assertions.core.definition import Assertion, Member
from assertions.core.engine import Judging
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

    def route(self, event: Event) -> Sequence[tuple[int, Logged]]:
        match event:
            case Seen(observation=observation):
                return self._seen(observation)
            case Watermark():
                return ()
            case _:
                return [(p, event) for p in sorted(self._sent.pop(event.observation_id, ()))]

    def _seen(self, observation: Observation) -> list[tuple[int, Logged]]:
        member = Member(observation)
        watched = (observation.pipeline, observation.stages)
        home = partition_of(f"{observation.pipeline}/{observation.serial}", self._partitions)
        keyed: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        failed: list[tuple[int, Logged]] = []
        is_plain = False
        for assertion in self._watching.get(watched, ()):
            if not (observation.is_complete or assertion.is_early):
                continue
            if not assertion.is_keyed:
                is_plain = True
                continue
            keys = self._judging.keys(assertion, member)
            if isinstance(keys, Broken):
                failed.append((home, Unkeyed(assertion.name, keys)))
                continue
            for key in keys:
                # By the key alone: assertions that look at one thing share one copy of the example.
                keyed[partition_of(key, self._partitions)][assertion.name].append(key)
        if keyed and watched not in self._is_at_request:
            home = min(keyed)
        places = set(keyed) | ({home} if is_plain else set())
        if places:
            self._sent.setdefault(observation.id, set()).update(places)
        return failed + [
            (
                p,
                Routed(observation, is_plain and p == home, {n: tuple(k) for n, k in keyed.get(p, {}).items()}),
            )
            for p in sorted(places)
        ]
