"""Who may generate next."""

from __future__ import annotations

import asyncio

import pytest

from workers.engines.admission import Admission


async def enter(admission: Admission, priority: float, name: str, entered: list[str], go: asyncio.Event) -> None:
    async with admission.admit(priority):
        entered.append(name)
        await go.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_earliest_request_enters_first_and_equals_keep_their_order() -> None:
    admission, entered, go = Admission(1), list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for name, priority in (("first", 9.0), ("late", 3.0), ("early", 1.0), ("early too", 1.0)):
            group.create_task(enter(admission, priority, name, entered, go))
        await settle()
        assert (admission.running, admission.waiting) == (1, 3)
        go.set()
    assert entered == ["first", "early", "early too", "late"]
    assert (admission.running, admission.waiting) == (0, 0)


async def test_a_caller_cancelled_in_the_queue_leaves_no_trace() -> None:
    admission, entered, go = Admission(1), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(enter(admission, 0.0, str(n), entered, go)) for n in range(3)]
    await settle()
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert admission.waiting == 1
    go.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert entered == ["0", "2"]


async def test_a_caller_cancelled_as_its_turn_comes_hands_it_on() -> None:
    admission, entered, go = Admission(1), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(enter(admission, 0.0, str(n), entered, go)) for n in range(3)]
    await settle()
    go.set()
    await asyncio.sleep(0)  # the first one leaves: the turn of the second one is set, and it has not run yet
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert "2" in entered
    assert (admission.running, admission.waiting) == (0, 0)
    async with asyncio.timeout(1), admission.admit(0.0):
        assert admission.running == 1
