"""Up to when everything was read, of partitions that are read side by side.

Partitions do not keep step: after a start, an outage or a slow broker one is read to its end before the first record of
another has come. A time up to which nothing more can come is therefore the least over all of them, and for one that is
silent it is not read off a clock: the broker is asked where the partition ends, and once it was read up to there, all
that was appended before the question has been read. Nothing is inferred from silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Place: TypeAlias = tuple[str, int]
"""(topic, partition)"""


@dataclass(slots=True)
class _Read:
    position: int = -1
    """The next offset; -1 before anything is known."""
    until: float = -math.inf
    """Event time, seconds: all records up to it were read."""
    complete_at: float = -math.inf
    """All records that were there at this time of the reader's clock were read."""
    is_at_end: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """Asked of the brokers: where does each partition end?"""

    asked_at: float
    """On the reader's clock, which never goes back."""
    until: float
    """Event time, seconds: what is appended after the question is not earlier."""
    ends: Mapping[Place, int] = field(default_factory=dict)
    """The answer."""


class Frontier:
    def __init__(self, places: Iterable[Place]) -> None:
        self._places: Final = {place: _Read() for place in places}
        self._open: dict[Place, int] = {}
        """Ends of the latest answer that are still to be read up to."""
        self._question = Question(-math.inf, -math.inf)

    @property
    def places(self) -> Iterable[Place]:
        return self._places.keys()

    def read(self, place: Place, offset: int, time: float) -> None:
        """A record. Times of one partition do not go back, but for the clocks of brokers that take turns."""
        if (here := self._places.get(place)) is not None:
            here.until = max(here.until, time)
            here.is_at_end = False
            self._move(place, here, offset + 1)

    def ended(self, place: Place, position: int) -> None:
        """There is nothing at this offset yet."""
        if (here := self._places.get(place)) is not None:
            here.is_at_end = True
            self._move(place, here, position)

    def _move(self, place: Place, here: _Read, position: int) -> None:
        here.position = max(here.position, position)
        if (end := self._open.get(place)) is not None and here.position >= end:
            del self._open[place]
            self._confirm(here)

    def _confirm(self, here: _Read) -> None:
        here.until = max(here.until, self._question.until)
        here.complete_at = max(here.complete_at, self._question.asked_at)

    def answer(self, question: Question) -> None:
        """The brokers have answered. What was open of an earlier question is dropped: this one says more."""
        self._question = question
        self._open = {}
        for place, here in self._places.items():
            end = question.ends[place]
            if end == 0 or here.position >= end:
                self._confirm(here)
            else:
                self._open[place] = end

    @property
    def is_answered(self) -> bool:
        """Everything that the latest question asked about was read."""
        return not self._open

    @property
    def is_at_ends(self) -> bool:
        return all(here.is_at_end for here in self._places.values())

    @property
    def until(self) -> float:
        """Event time up to which all partitions were read; -inf while that is not known of one."""
        return min((here.until for here in self._places.values()), default=-math.inf)

    @property
    def complete_at(self) -> float:
        """Everything that was there at this time of the reader's clock was read, in all partitions."""
        return min((here.complete_at for here in self._places.values()), default=-math.inf)
