"""Calls users' assertions: sync and async, each with its time limit, in batches on a thread of their own.

A function that hangs cannot be stopped, only left behind: its thread is abandoned, its batch goes on in a new one, and
after a few of those the assertion is suspended. The hand-over between threads is once a batch, not once a call.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from queue import SimpleQueue
from typing import Any, Final

from pydantic import ValidationError

from assertions.core.consistency import Step
from assertions.core.definition import Assertion, Member
from assertions.core.evaluator import Task
from assertions.core.severity import Broken, Fault, Outcome, judged
from assertions.errors import SeverityRefusedError

# Each abandoned thread costs memory for as long as its function hangs. Three say that it was no accident.
HANGS_MAX: Final = 3
# Coroutines of one batch that wait at the same time, so that an assertion which asks a server does not flood it.
CONCURRENT_MAX: Final = 32


class Judge:
    """The judging of one engine. Not shared between engines: a batch at a time."""

    def __init__(self) -> None:
        self._hangs: Counter[str] = Counter()
        self._thread: _Caller | None = None

    def keys(self, assertion: Assertion, member: Member) -> tuple[str, ...] | Broken:
        started = time.perf_counter()
        try:
            return assertion.keys(member)
        except Exception as error:  # noqa: BLE001 users' code may raise anything
            return Broken(Fault.RAISED, reason_of(error), time.perf_counter() - started)

    def outcomes(self, tasks: Sequence[Task]) -> Sequence[Outcome | Step]:
        results: list[Outcome | Step | None] = [None] * len(tasks)
        waiting = [i for i, task in enumerate(tasks) if not self._refuse(task, results, i)]
        while waiting:
            caller = self._thread if self._thread is not None else _Caller()
            self._thread = caller
            hung = caller.run([(i, tasks[i]) for i in waiting], results)
            if hung is not None:
                self._thread = None
                task = tasks[hung]
                self._hangs[task.assertion.name] += 1
                results[hung] = Broken(Fault.TIMED_OUT, _limit(task), task.assertion.limit_seconds)
            waiting = [i for i in waiting if results[i] is None and not self._refuse(tasks[i], results, i)]
        return [result for result in results if result is not None]

    def is_suspended(self, assertion: Assertion) -> bool:
        return self._hangs[assertion.name] >= HANGS_MAX

    def close(self) -> None:
        """Ends the thread when its present call returns."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def _refuse(self, task: Task, results: list[Outcome | Step | None], at: int) -> bool:
        if not self.is_suspended(task.assertion):
            return False
        results[at] = Broken(Fault.TIMED_OUT, f"suspended after it hung {HANGS_MAX} times")
        return True


class _Caller:
    """One thread that runs tasks in order and tells how far it is."""

    def __init__(self) -> None:
        self._inbox: SimpleQueue[_Batch | None] = SimpleQueue()
        threading.Thread(target=self._serve, name="assertions", daemon=True).start()

    def run(self, tasks: list[tuple[int, Task]], results: list[Outcome | Step | None]) -> int | None:
        """Fill `results`; the index of a task that hung, and then the rest is not done."""
        batch = _Batch(tasks, results)
        self._inbox.put(batch)
        while not batch.done.wait(batch.patience()):
            if (hung := batch.overdue()) is not None:
                self.stop()
                return hung
        return None

    def stop(self) -> None:
        self._inbox.put(None)

    def _serve(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            while (batch := self._inbox.get()) is not None:
                batch.execute(loop)
        finally:
            loop.close()


class _Batch:
    def __init__(self, tasks: list[tuple[int, Task]], results: list[Outcome | Step | None]) -> None:
        self.done = threading.Event()
        self._tasks = tasks
        self._results = results
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._current: tuple[int, float, float] | None = None
        """(index, started, limit) of the call under way."""

    def patience(self) -> float:
        current = self._current
        if current is None:
            return 0.05
        return max(0.001, current[1] + current[2] - time.perf_counter())

    def overdue(self) -> int | None:
        with self._lock:
            current = self._current
            if current is None or time.perf_counter() < current[1] + current[2]:
                return None
            self._is_abandoned = True
            return current[0]

    def execute(self, loop: asyncio.AbstractEventLoop) -> None:
        pending: list[tuple[int, Task]] = []
        for at, task in self._tasks:
            if task.assertion.is_async and task.assertion.rule is None:
                pending.append((at, task))
                continue
            if self._is_abandoned:
                return
            started = time.perf_counter()
            # One assignment, so that `overdue` sees a whole one without the lock.
            self._current = (at, started, task.assertion.limit_seconds)
            if not self._end(at, _judge(task, started)):
                return
        if pending:
            # Their own limits are kept by wait_for; this one is for a coroutine that blocks the thread.
            rounds = len(pending) // CONCURRENT_MAX + 1
            if not self._begin(pending[0][0], 2 * rounds * max(t.assertion.limit_seconds for _, t in pending)):
                return
            outcomes = loop.run_until_complete(_judge_together([task for _, task in pending]))
            for (at, _), outcome in zip(pending, outcomes, strict=True):
                if not self._end(at, outcome):
                    return
        self.done.set()

    def _begin(self, at: int, limit: float) -> bool:
        with self._lock:
            self._current = (at, time.perf_counter(), limit)
            return not self._is_abandoned

    def _end(self, at: int, outcome: Outcome | Step) -> bool:
        with self._lock:
            if self._is_abandoned:
                return False
            self._current = None
            self._results[at] = outcome
            return True


def _judge(task: Task, started: float) -> Outcome | Step:
    try:
        if task.assertion.rule is not None:
            outputs = task.assertion.rule.outputs(*task.member.typed(task.assertion.adapters))
            return Step(task.member.observation, outputs)
        returned = task.assertion.call(task.member, task.before)
        return judged(returned, time.perf_counter() - started)
    except Exception as error:  # noqa: BLE001 users' code may raise anything
        return broken(error, time.perf_counter() - started)


async def _judge_together(tasks: Sequence[Task]) -> list[Outcome]:
    room = asyncio.Semaphore(CONCURRENT_MAX)

    async def one(task: Task) -> Outcome:
        async with room:
            started = time.perf_counter()
            try:
                call: Coroutine[Any, Any, Any] = task.assertion.call(task.member, task.before)
                returned = await asyncio.wait_for(call, task.assertion.limit_seconds)
                return judged(returned, time.perf_counter() - started)
            except TimeoutError:
                return Broken(Fault.TIMED_OUT, _limit(task), time.perf_counter() - started)
            except Exception as error:  # noqa: BLE001 users' code may raise anything
                return broken(error, time.perf_counter() - started)

    return list(await asyncio.gather(*(one(task) for task in tasks)))


def broken(error: Exception, seconds: float) -> Broken:
    fault = Fault.REFUSED if isinstance(error, SeverityRefusedError | ValidationError) else Fault.RAISED
    return Broken(fault, reason_of(error), seconds)


def reason_of(error: Exception) -> str:
    """Where and what, without the example: messages of users' exceptions may quote it."""
    if isinstance(error, SeverityRefusedError):
        return str(error)
    if isinstance(error, ValidationError):
        return f"the stage's value does not fit the parameter's type ({error.error_count()} errors in {error.title})"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}{place}"


def _limit(task: Task) -> str:
    return f"took longer than limit_seconds={task.assertion.limit_seconds:g}"
