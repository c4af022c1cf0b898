"""Who may generate next, when an engine takes only so many at once."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class Admission:
    """At most `limit` at once; those that wait enter by priority (lowest first), then in the order they came.

    The queue is as long as the callers make it; a caller that is cancelled while it waits leaves no trace.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._order = count()
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []
        self.running = 0

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return sum(not turn.done() for _, _, turn in self._queue)

    @asynccontextmanager
    async def admit(self, priority: float) -> AsyncIterator[None]:
        """Hold one place for the body."""
        await self._enter(priority)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, priority: float) -> None:
        if self._free and not self.waiting:
            self._take()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (priority, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was ours already: hand it on
                self._leave()
            else:
                turn.cancel()
            raise

    def _take(self) -> None:
        self._free -= 1
        self.running += 1

    def _leave(self) -> None:
        self._free += 1
        self.running -= 1
        while self._queue and self._free:
            _, _, turn = heapq.heappop(self._queue)
            if not turn.done():
                self._take()
                turn.set_result(None)
