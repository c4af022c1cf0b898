"""Open-loop load against a server of our own."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.headline.load import one_by_one, open_loop
from benchmarks.headline.workload import Arrival, Ask


def arrivals(*times: float) -> list[Arrival]:
    return [
        Arrival(at, Ask(salt=str(n), question="", document="", draft_tokens=1, claims=[], report_tokens=1))
        for n, at in enumerate(times)
    ]


async def test_requests_leave_at_their_times_whatever_became_of_earlier_ones() -> None:
    started: list[float] = []
    loop = asyncio.get_running_loop()

    async def slow(_: Ask) -> None:
        started.append(loop.time())
        await asyncio.sleep(0.3)

    outcome = await open_loop(arrivals(0.0, 0.05, 0.1), slow, speed=1.0, drain_seconds=5.0)
    assert started[-1] - started[0] < 0.25
    assert len(outcome.latencies) == 3
    assert all(latency >= 0.3 for latency in outcome.latencies)


async def test_slowed_time_is_given_back_in_simulated_seconds() -> None:
    async def slow(_: Ask) -> None:
        await asyncio.sleep(0.2)

    outcome = await open_loop(arrivals(0.0, 0.05), slow, speed=0.5, drain_seconds=5.0)
    assert all(latency == pytest.approx(0.1, abs=0.05) for latency in outcome.latencies)
    assert await one_by_one([arrivals(0.0)[0].ask], slow, speed=0.5) == [pytest.approx(0.1, abs=0.05)]


async def test_unanswered_and_failed_requests_are_counted() -> None:
    async def ask(request: Ask) -> None:
        if request.salt == "1":
            raise ValueError
        if request.salt == "2":
            await asyncio.sleep(60)

    outcome = await open_loop(arrivals(0.0, 0.01, 0.02), ask, speed=1.0, drain_seconds=0.2)
    assert (outcome.failed, outcome.unanswered) == (1, 1)
    assert len(outcome.latencies) == 2
    assert outcome.latencies[1] == pytest.approx(0.2, abs=0.15)


async def test_the_first_requests_are_not_measured() -> None:
    async def ask(_: Ask) -> None:
        return

    outcome = await open_loop(arrivals(*(0.001 * i for i in range(20))), ask, speed=1.0, drain_seconds=1.0)
    assert len(outcome.latencies) == 17
