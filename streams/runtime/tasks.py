"""Tasks that belong to somebody: their errors are told, and they end with their owner; and futures of other threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final


class Tasks:
    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        """`on_error`: told of what a task raised, since nobody awaits it."""
        self._on_error: Final = on_error
        self._running: Final[set[asyncio.Task[None]]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guard(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: work.close())  # of one that was cancelled before it began
        return task

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 — a task's error reaches nobody by itself
            self._on_error(error)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def finish(future: asyncio.Future[Any], result: object) -> None:
    """From another thread, by `call_soon_threadsafe`: whoever waited may have been cancelled meanwhile."""
    if not future.done():
        future.set_result(result)


def fail(future: asyncio.Future[Any], error: BaseException) -> None:
    """As `finish`."""
    if not future.done():
        future.set_exception(error)
