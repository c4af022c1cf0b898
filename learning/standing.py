"""The standing flags of the models that look at flags, for the retraining job: how many came since a model's last
snapshot, and which examples they are about.

They are counted by where they lie on their topic, so that no clock is compared with another, and a process that starts
anew counts what the one before it would have.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from learning.choosing import Choosing, Flagged
from learning.flagreader import FlagReader
from learning.gathering import POINTS_MAX, Gathered
from learning.records import JobRecord
from learning.training import Recipe
from streams.settings import KafkaSettings


class Standing:
    """Of one model. Pure."""

    def __init__(self, model: str, choosing: Choosing) -> None:
        # Only who chooses compares examples.
        self._gathered: Final = Gathered(model, replace(choosing, features=None))
        self._offsets: Final[defaultdict[int, deque[int]]] = defaultdict(lambda: deque(maxlen=POINTS_MAX))
        """By partition, ascending: where the flags lie that no snapshot has seen."""

    @property
    def examples(self) -> Collection[Flagged]:
        return self._gathered.examples.values()

    def take(self, flag: Mapping[str, Any], place: tuple[int, int]) -> None:
        """A record of the flags topic, at this partition and offset."""
        if self._gathered.take(flag, 0.0):
            partition, offset = place
            self._offsets[partition].append(offset)

    def since(self, read: Mapping[int, int]) -> int:
        """Flags that came to stand from these offsets on, by partition. Snapshots only go forward, so that those before
        are forgotten."""
        for partition, offsets in self._offsets.items():
            while offsets and offsets[0] < read.get(partition, 0):
                offsets.popleft()
        return sum(map(len, self._offsets.values()))


class StandingFlags:
    """Of all recipes; reads nothing where none looks at flags. Not thread-safe."""

    def __init__(self, recipes: Sequence[Recipe], kafka: KafkaSettings) -> None:
        looking = {
            r.name: r.choosing
            for r in recipes
            if r.choosing is not None and (r.weak is not None or r.trigger.new_flags is not None)
        }
        self._models: Final = {name: Standing(name, choosing) for name, choosing in looking.items()}
        self._reader: Final = FlagReader(kafka, max(c.history_seconds for c in looking.values())) if looking else None

    def poll(self) -> None:
        """Take in what has come. Raises BrokerError where the topic cannot be read."""
        for place, flag in self._reader.read() if self._reader is not None else ():
            for standing in self._models.values():
                standing.take(flag, place)

    def since(self, model: str, last: JobRecord | None) -> int | None:
        """How many came since the model's last snapshot; None while those that there are have not all been read."""
        if self._reader is None or model not in self._models:
            return 0
        if not self._reader.is_caught_up:
            return None
        return self._models[model].since({} if last is None else last.flags_read)

    def examples(self, model: str) -> Collection[Flagged]:
        """What is flagged, for the snapshot of a model."""
        return self._models[model].examples if model in self._models else ()

    def read_to(self, model: str, last: JobRecord | None) -> dict[int, int]:
        """`JobRecord.flags_read` of a snapshot of now; not before the last one's, whose process may have read more."""
        before = {} if last is None else dict(last.flags_read)
        here = self._reader.position if self._reader is not None and model in self._models else {}
        return before | {partition: to for partition, to in here.items() if to > before.get(partition, 0)}

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
