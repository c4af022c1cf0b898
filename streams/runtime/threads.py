"""Calls that may never come back, on threads that nobody has to wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


async def in_own_thread(function: Callable[..., T], *args: Any, seconds: float) -> T:
    """Run it on a daemon thread of its own. Raises TimeoutError after `seconds`; the thread is then left alone.

    The loop's own executor would do, but for calls that hang: a process waits for its threads before it ends.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = function(*args)
        except BaseException as error:  # noqa: BLE001 — for whoever waits
            _tell(loop, partial(_settle, future, None, error))
        else:
            _tell(loop, partial(_settle, future, result, None))

    threading.Thread(target=run, name=getattr(function, "__name__", "call"), daemon=True).start()
    async with asyncio.timeout(seconds):
        return await future


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _tell(loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(tell)
