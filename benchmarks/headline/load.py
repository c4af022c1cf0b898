"""Open-loop load: each request leaves at its time, whatever became of those before it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.headline.workload import Arrival, Ask

Asked = Callable[[Ask], Awaitable[None]]
"""Answers one request; raises where it cannot."""

WARM_SHARE: Final = 0.15
"""Of the arrivals, the first: the engines are still empty."""


@dataclass(frozen=True, slots=True)
class Outcome:
    latencies: list[float]
    """Of the requests after the warm-up, in the order of arrival; simulated seconds where time is slowed. One that was
    not answered counts with the time that it had waited by then."""
    failed: int
    unanswered: int


async def open_loop(arrivals: Sequence[Arrival], ask: Asked, *, speed: float, drain_seconds: float) -> Outcome:
    """Send them all and wait for the answers, at most `drain_seconds` (real) after the last was sent."""
    began = time.monotonic()
    found: list[float | None] = [None] * len(arrivals)
    failed = 0

    async def one(number: int, arrival: Arrival) -> None:
        nonlocal failed
        due = began + arrival.at / speed
        await asyncio.sleep(due - time.monotonic())
        try:
            await ask(arrival.ask)
        except Exception:  # noqa: BLE001 — a request that fails is counted, whatever the reason
            failed += 1
            return
        # From when it was due: a generator that is late itself must not make the others look fast.
        found[number] = (time.monotonic() - due) * speed

    if not arrivals:
        return Outcome([], 0, 0)
    tasks = [asyncio.create_task(one(n, a)) for n, a in enumerate(arrivals)]
    _, late = await asyncio.wait(tasks, timeout=arrivals[-1].at / speed + drain_seconds)
    waited = time.monotonic() - began
    for number, task in enumerate(tasks):
        if task in late:
            task.cancel()
            found[number] = waited * speed - arrivals[number].at
    await asyncio.gather(*late, return_exceptions=True)
    measured = found[int(len(found) * WARM_SHARE) :]
    return Outcome([x for x in measured if x is not None], failed, len(late))


async def one_by_one(asks: Sequence[Ask], ask: Asked, *, speed: float) -> list[float]:
    """Latencies of requests that never meet."""
    found = []
    for one in asks:
        began = time.monotonic()
        await ask(one)
        found.append((time.monotonic() - began) * speed)
    return found
