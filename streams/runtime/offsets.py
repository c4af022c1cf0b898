"""Where partitions begin and end, asked of the brokers without a consumer.

A consumer's own look-ups will not do: one whose partition had no leader for a while, or whose broker was restarted, has
been seen to be refused for ever afterwards (2.16), as it keeps the leader that it knows. Closers and lanes that were
taken over meanwhile never opened. Here each further try is a new client's, which asks who leads.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without saying so

from streams.runtime.consumer import retrying
from streams.settings import KafkaSettings

ASK_SECONDS: Final = 5.0
"""Of one try; the process cannot end before it is over."""

NONE_SO_LATE: Final = -1

Place: TypeAlias = tuple[str, int]
"""(topic, partition)"""

T = TypeVar("T")


class OffsetLookup:
    """High watermarks, those of open transactions included, and log starts; waits for a broker that is away.

    All that is not a coroutine blocks, and is for threads. Raises KafkaException when it is closed meanwhile, or when
    `seconds_max` have passed.
    """

    def __init__(self, kafka: KafkaSettings, *, seconds_max: float = math.inf, stable: bool = False) -> None:
        """`stable`: ends are those for a reader of committed records, before what an open transaction writes."""
        self._kafka: Final = kafka
        self._seconds_max: Final = seconds_max
        self._isolation: Final = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
        self._admin = AdminClient(kafka.client())
        self._is_open = True

    def close(self) -> None:
        """Whoever still waits for a broker is told so with the last error; a process can end while it is away."""
        self._is_open = False

    async def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        return await asyncio.to_thread(self.ends_of, list(places))

    def ends_of(self, places: Iterable[Place]) -> dict[Place, int]:
        return self._ask(list(places), OffsetSpec.latest())  # type: ignore[no-untyped-call]

    async def beginnings(self, places: Iterable[Place]) -> dict[Place, int]:
        return await asyncio.to_thread(self._ask, list(places), OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def ranges(self, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
        """Beginning and end of each."""
        asked = list(places)
        low = self._ask(asked, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        high = self._ask(asked, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {place: (low[place], high[place]) for place in asked}

    def end(self, place: Place) -> int:
        return self._ask([place], OffsetSpec.latest())[place]  # type: ignore[no-untyped-call]

    def beginning(self, place: Place) -> int:
        return self._ask([place], OffsetSpec.earliest())[place]  # type: ignore[no-untyped-call]

    def since(self, place: Place, at_ms: int) -> int | None:
        """The first record that was appended then or later; None when there is none."""
        found = self._ask([place], OffsetSpec.for_timestamp(at_ms), least=NONE_SO_LATE)[place]
        return found if found >= 0 else None

    def _ask(self, places: list[Place], spec: OffsetSpec, *, least: int = 0) -> dict[Place, int]:
        """An offset below `least` is no answer. A reader that started while its broker was cut off was given a negative
        one, by all that is known from here (a chaos round; it did not come again)."""
        if not places:
            return {}

        def ask(admin: AdminClient) -> dict[Place, int]:
            futures = admin.list_offsets(
                {TopicPartition(topic, number): spec for topic, number in places},
                isolation_level=self._isolation,
                request_timeout=ASK_SECONDS,
            )
            found = {(at.topic, at.partition): future.result().offset for at, future in futures.items()}
            if min(found.values()) < least:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no offset was given"))
            return found

        return self.ask(ask)

    def ask(self, question: Callable[[AdminClient], T]) -> T:
        """Until there is an answer; each further try is a new client's."""
        ends_at = time.monotonic() + self._seconds_max

        def once() -> T:
            try:
                return question(self._admin)
            except KafkaException:
                self._admin = AdminClient(self._kafka.client())
                raise

        return retrying(once, still=lambda: self._is_open and time.monotonic() < ends_at)
