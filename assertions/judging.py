"""Calls users' functions: assertions, sync and async, and what finds their keys and proposes labels. Each with its time
limit, in batches on a thread of their own.

A function that hangs cannot be stopped, only left behind: its thread is abandoned, its batch goes on in a new one, and
after a few of those the assertion is suspended. The hand-over between threads is once a batch, not once a call.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeVar

from pydantic import ValidationError

from assertions.core.consistency import Step, WeakLabel
from assertions.core.definition import Assertion, Member
from assertions.core.evaluator import Task
from assertions.core.severity import Broken, BrokenError, Fault, Judged, Outcome, judged
from assertions.errors import SeverityRefusedError

R = TypeVar("R")

# Each abandoned thread costs memory for as long as its function hangs. Three say that it was no accident.
HANGS_MAX: Final = 3
# Coroutines of one batch that wait at the same time, so that an assertion which asks a server does not flood it.
CONCURRENT_MAX: Final = 32


class _Call(Protocol):
    """Something to call for an assertion, within its limit."""

    @property
    def assertion(self) -> Assertion: ...


C = TypeVar("C", bound=_Call)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An observation's keys."""

    assertion: Assertion
    member: Member


@dataclass(frozen=True, slots=True)
class _Proposal:
    """What a weak_label is asked."""

    assertion: Assertion
    weak_label: WeakLabel
    arguments: tuple[Any, Any, float]


class Judge:
    """The judging of one engine. Not shared between engines: a batch at a time."""

    def __init__(self) -> None:
        self._hangs: Counter[str] = Counter()
        self._thread: _Caller | None = None

    def keys(self, wanted: Sequence[tuple[Assertion, Member]]) -> Sequence[tuple[str, ...] | Broken]:
        return self._all([_Wanted(*each) for each in wanted], _keys)

    def outcomes(self, tasks: Sequence[Task]) -> Sequence[Outcome | Step]:
        return self._all(tasks, _judge)

    def weak_label(self, assertion: Assertion) -> WeakLabel | None:
        proposes = assertion.rule.weak_label if assertion.rule is not None else None
        if proposes is None:
            return None

        def limited(before: Any, after: Any, time_: float) -> Any:
            [outcome] = self._all([_Proposal(assertion, proposes, (before, after, time_))], _propose)
            if isinstance(outcome, Broken):
                raise BrokenError(outcome)
            return outcome[0]

        return limited

    def _all(self, calls: Sequence[C], work: Callable[[C, float], R]) -> list[R | Broken]:
        results: list[R | Broken | None] = [None] * len(calls)
        waiting = [i for i, call in enumerate(calls) if not self._refuse(call, results, i)]
        while waiting:
            caller = self._thread if self._thread is not None else _Caller()
            self._thread = caller
            hung = caller.run(_Batch([(i, calls[i]) for i in waiting], results, work))
            if hung is not None:
                self._thread = None
                assertion = calls[hung].assertion
                self._hangs[assertion.name] += 1
                results[hung] = Broken(Fault.TIMED_OUT, _limit(assertion), assertion.limit_seconds)
            waiting = [i for i in waiting if results[i] is None and not self._refuse(calls[i], results, i)]
        return [result for result in results if result is not None]

    def is_suspended(self, assertion: Assertion) -> bool:
        return self._hangs[assertion.name] >= HANGS_MAX

    def close(self) -> None:
        """Ends the thread when its present call returns."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def _refuse(self, call: _Call, results: list[R | Broken | None], at: int) -> bool:
        if not self._hangs or not self.is_suspended(call.assertion):
            return False
        results[at] = Broken(Fault.TIMED_OUT, f"suspended after it hung {HANGS_MAX} times")
        return True


class _Caller:
    """One thread that makes calls in order and tells how far it is."""

    def __init__(self) -> None:
        self._inbox: SimpleQueue[_Batch[Any, Any] | None] = SimpleQueue()
        threading.Thread(target=self._serve, name="assertions", daemon=True).start()

    def run(self, batch: _Batch[Any, Any]) -> int | None:
        """Fill its results; the index of a call that hung, and then the rest is not done."""
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


class _Batch(Generic[C, R]):
    def __init__(
        self, calls: list[tuple[int, C]], results: list[R | Broken | None], work: Callable[[C, float], R]
    ) -> None:
        self.done = threading.Event()
        self._calls = calls
        self._results = results
        self._work = work
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
        for at, call in self._calls:
            if isinstance(call, Task) and call.assertion.is_async and call.assertion.rule is None:
                pending.append((at, call))
                continue
            if self._is_abandoned:
                return
            started = time.perf_counter()
            # One assignment, so that `overdue` sees a whole one without the lock.
            self._current = (at, started, call.assertion.limit_seconds)
            if not self._end(at, self._work(call, started)):
                return
        if pending:
            # Their own limits are kept by wait_for; this one is for a coroutine that blocks the thread.
            rounds = len(pending) // CONCURRENT_MAX + 1
            if not self._begin(pending[0][0], 2 * rounds * max(t.assertion.limit_seconds for _, t in pending)):
                return
            outcomes: list[Any] = loop.run_until_complete(_judge_together([task for _, task in pending]))
            for (at, _), outcome in zip(pending, outcomes, strict=True):
                if not self._end(at, outcome):
                    return
        self.done.set()

    def _begin(self, at: int, limit: float) -> bool:
        with self._lock:
            self._current = (at, time.perf_counter(), limit)
            return not self._is_abandoned

    def _end(self, at: int, outcome: R) -> bool:
        with self._lock:
            if self._is_abandoned:
                return False
            self._current = None
            self._results[at] = outcome
            return True


def _keys(wanted: _Wanted, started: float) -> tuple[str, ...] | Broken:
    try:
        return wanted.assertion.keys(wanted.member)
    except Exception as error:  # noqa: BLE001 users' code may raise anything
        return Broken(Fault.RAISED, reason_of(error), time.perf_counter() - started)


def _propose(proposal: _Proposal, started: float) -> tuple[Any] | Broken:
    try:
        return (proposal.weak_label(*proposal.arguments),)
    except Exception as error:  # noqa: BLE001 users' code may raise anything
        return Broken(Fault.RAISED, reason_of(error), time.perf_counter() - started)


def _judge(task: Task, started: float) -> Outcome | Step:
    try:
        if task.assertion.rule is not None:
            outputs = task.assertion.rule.outputs(*task.member.typed(task.assertion.adapters))
            return Step(task.member.observation, outputs)
        returned = task.assertion.call(task.member, task.before)
        return _outcome(task.assertion, returned, time.perf_counter() - started)
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
                return _outcome(task.assertion, returned, time.perf_counter() - started)
            except TimeoutError:
                return Broken(Fault.TIMED_OUT, _limit(task.assertion), time.perf_counter() - started)
            except Exception as error:  # noqa: BLE001 users' code may raise anything
                return broken(error, time.perf_counter() - started)

    return list(await asyncio.gather(*(one(task) for task in tasks)))


def _outcome(assertion: Assertion, returned: Any, seconds: float) -> Outcome:
    outcome = judged(returned, seconds)
    if (
        assertion.enforce == "replace"
        and isinstance(outcome, Judged)
        and any(f.instead is None for f in outcome.findings)
    ):
        raise SeverityRefusedError("enforces a replacement and named none: return Severity(..., instead=...).")
    return outcome


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


def _limit(assertion: Assertion) -> str:
    return f"took longer than limit_seconds={assertion.limit_seconds:g}"
