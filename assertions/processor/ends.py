"""Asks the brokers where partitions end, on a thread of its own: reading never waits for a broker that is away."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from assertions.core.frontier import Place, Question
from streams.runtime.offsets import OffsetLookup
from streams.settings import KafkaSettings

# A silent partition was read up to this long before the question: so much may a broker's clock, which dates its
# records, be behind ours before `lateness` has to help.
CLOCK_BEHIND_SECONDS: Final = 1.0


class Ends:
    """One question at a time."""

    def __init__(self, kafka: KafkaSettings, clock: Callable[[], float]) -> None:
        """clock: wall clock seconds."""
        self._clock: Final = clock
        self._lookup: Final = OffsetLookup(kafka, stable=True)
        self._thread: Final = ThreadPoolExecutor(1, "ends")
        self._asked: Future[Question] | None = None
        self.asked_at = -math.inf
        """On the monotonic clock."""

    def ask(self, places: Iterable[Place]) -> None:
        """Does nothing while an answer is awaited."""
        if self._asked is None:
            self.asked_at = time.monotonic()
            until = self._clock() - CLOCK_BEHIND_SECONDS
            self._asked = self._thread.submit(self._question, list(places), self.asked_at, until)

    def _question(self, places: list[Place], asked_at: float, until: float) -> Question:
        return Question(asked_at, until, self._lookup.ends_of(places))

    def answer(self) -> Question | None:
        """What has come since the last look, if anything. Raises KafkaException where the question is refused."""
        if self._asked is None or not self._asked.done():
            return None
        answered, self._asked = self._asked, None
        return answered.result()

    def close(self) -> None:
        self._lookup.close()
        self._thread.shutdown(cancel_futures=True)
