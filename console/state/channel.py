"""From one source of events to many readers, none of which can hold up the source or fill the memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

E = TypeVar("E")

BEHIND_MAX: Final = 2_000
"""Events that wait for one reader. A browser that is further behind is better served by the state as it is now."""


class Subscription(Generic[E]):
    """`async with channel.subscribe() as events: async for batch in events: ...`; a batch is never empty, and None
    says that events were lost and the state must be read anew."""

    def __init__(self, channel: Channel[E], *, behind_max: int = BEHIND_MAX) -> None:
        self._channel: Final = channel
        self._waiting: Final[deque[E]] = deque()
        self._behind_max: Final = behind_max
        self._has_lost = False
        self._is_over = False
        self._news: Final = asyncio.Event()

    def put(self, events: Iterable[E]) -> None:
        self._waiting.extend(events)
        if len(self._waiting) > self._behind_max:
            self._waiting.clear()
            self._has_lost = True
        self._news.set()

    def end(self) -> None:
        self._is_over = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[list[E] | None]:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._has_lost:
                self._has_lost = False
                yield None
            if self._waiting:
                batch = list(self._waiting)
                self._waiting.clear()
                yield batch
            if self._is_over:
                return

    async def __aenter__(self) -> Self:
        self._channel.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._channel.remove(self)


class Channel(Generic[E]):
    """Used from one event loop."""

    def __init__(self) -> None:
        self._readers: Final[set[Subscription[E]]] = set()
        self._is_over = False

    @property
    def is_empty(self) -> bool:
        return not self._readers

    def subscribe(self) -> Subscription[E]:
        return Subscription(self)

    def add(self, reader: Subscription[E]) -> None:
        self._readers.add(reader)
        if self._is_over:
            reader.end()

    def remove(self, reader: Subscription[E]) -> None:
        self._readers.discard(reader)

    def publish(self, *events: E) -> None:
        for reader in self._readers:
            reader.put(events)

    def close(self) -> None:
        """End every reader, so that a server with open streams can stop."""
        self._is_over = True
        for reader in self._readers:
            reader.end()
