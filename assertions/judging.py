"""Calls users' functions: assertions, sync and async, and what finds their keys and proposes labels. Each with its time
limit, in batches on a thread of their own.

A function that hangs cannot be stopped, only left behind: its thread is abandoned, its batch goes on in a new one, and
after a few of those the assertion is suspended. The hand-over between threads is once a batch, not once a call.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeAlias, TypeVar

from pydantic import ValidationError

from assertions.core.consistency import Step, WeakLabel
from assertions.core.definition import Assertion, Member
from assertions.core.severity import Broken, BrokenError, Fault, Judged, Outcome, judged
from assertions.core.timeline import Look
from assertions.errors import SeverityRefusedError

G = TypeVar("G")
"""What a call is given."""
R = TypeVar("R")
"""What comes of it; a Broken may always."""
Rounds: TypeAlias = Sequence[tuple[Assertion, Sequence[G]]]
"""The calls to make for each assertion."""

# Each abandoned thread costs memory for as long as its function hangs. Three say that it was no accident.
HANGS_MAX: Final = 3
# Coroutines of one batch that wait at the same time, so that an assertion which asks a server does not flood it.
CONCURRENT_MAX: Final = 32


class Judge:
    """The judging of one engine. Not shared between engines: a batch at a time."""

    def __init__(self) -> None:
        self._hangs: Counter[str] = Counter()
        self._thread: _Caller | None = None

    def keys(self, wanted: Rounds[Member]) -> list[list[tuple[str, ...] | Broken]]:
        return self._all(wanted, _keys)

    def outcomes(self, wanted: Rounds[Look]) -> list[list[Outcome | Step]]:
        return self._all(wanted, _judge)

    def weak_label(self, assertion: Assertion) -> WeakLabel | None:
        proposes = assertion.rule.weak_label if assertion.rule is not None else None
        if proposes is None:
            return None

        def propose(_: Assertion, given: tuple[Any, Any, float], started: float) -> tuple[Any] | Broken:
            try:
                return (proposes(*given),)
            except Exception as error:  # noqa: BLE001 users' code may raise anything
                return Broken(Fault.RAISED, reason_of(error), time.perf_counter() - started)

        def limited(before: Any, after: Any, time_: float) -> Any:
            [[outcome]] = self._all([(assertion, [(before, after, time_)])], propose)
            if isinstance(outcome, Broken):
                raise BrokenError(outcome)
            return outcome[0]

        return limited

    def _all(self, rounds: Rounds[G], call: Callable[[Assertion, G, float], R]) -> list[list[R]]:
        results: list[list[Any]] = [[] for _ in rounds]
        while self._are_open(rounds, results):
            caller = self._thread if self._thread is not None else _Caller()
            self._thread = caller
            hung = caller.run(_Batch(rounds, results, call))
            if hung is not None:
                self._thread = None
                assertion = rounds[hung][0]
                self._hangs[assertion.name] += 1
                results[hung].append(Broken(Fault.TIMED_OUT, _limit(assertion), assertion.limit_seconds))
        return results

    def is_suspended(self, assertion: Assertion) -> bool:
        return self._hangs[assertion.name] >= HANGS_MAX

    def close(self) -> None:
        """Ends the thread when its present call returns."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def _are_open(self, rounds: Rounds[G], results: Sequence[list[Any]]) -> bool:
        """Whether calls are to be made still. Those of a suspended assertion are not."""
        is_open = False
        for (assertion, given), found in zip(rounds, results, strict=True):
            missing = len(given) - len(found)
            if missing and self._hangs and self.is_suspended(assertion):
                found.extend([Broken(Fault.TIMED_OUT, f"suspended after it hung {HANGS_MAX} times")] * missing)
            elif missing:
                is_open = True
        return is_open


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


class _Batch(Generic[G, R]):
    """Calls that are made in order, each result at the end of its round's list. So the lists say how far it is."""

    def __init__(
        self,
        rounds: Rounds[G],
        results: Sequence[list[R]],
        call: Callable[[Assertion, G, float], R],
    ) -> None:
        self.done = threading.Event()
        self._rounds = rounds
        self._results = results
        self._call = call
        self._lock = threading.Lock()
        """Held while a result is put down: what is abandoned puts down no more."""
        self._is_abandoned = False
        self._current: int | None = None
        """The round under way."""
        self._started = 0.0
        self._limit = 0.0
        """Seconds, of the call under way."""

    def patience(self) -> float:
        if self._current is None:
            return 0.05
        return max(0.001, self._started + self._limit - time.perf_counter())

    def overdue(self) -> int | None:
        """The round whose call hangs; then it is abandoned."""
        with self._lock:
            number = self._current
            if number is None or time.perf_counter() < self._started + self._limit:
                return None
            if len(self._results[number]) == len(self._rounds[number][1]):
                return None  # the last call of its round has just ended
            self._is_abandoned = True
            return number

    def execute(self, loop: asyncio.AbstractEventLoop) -> None:
        together: list[tuple[int, Assertion, Sequence[Any]]] = []
        for number, (assertion, given) in enumerate(self._rounds):
            left = given[len(self._results[number]) :] if self._results[number] else given
            if not left:
                continue
            if self._call is _judge and assertion.is_async and assertion.rule is None:
                together.append((number, assertion, left))
            elif not (self._begin(number, assertion.limit_seconds) and self._execute_round(number, assertion, left)):
                return
        if together and not self._execute_together(together, loop):
            return
        self.done.set()

    def _execute_round(self, number: int, assertion: Assertion, left: Sequence[G]) -> bool:
        """False where it was abandoned."""
        call, results, started = self._call, self._results[number], self._started
        for given in left:
            result = call(assertion, given, started)
            # One reading of the clock ends a call and starts the next.
            started = time.perf_counter()
            with self._lock:
                if self._is_abandoned:
                    return False
                results.append(result)
                self._started = started
        return True

    def _execute_together(
        self, together: Sequence[tuple[int, Assertion, Sequence[Any]]], loop: asyncio.AbstractEventLoop
    ) -> bool:
        # Their own limits are kept by wait_for; this one is for a coroutine that blocks the thread.
        count = sum(len(left) for _, _, left in together)
        limit = max(assertion.limit_seconds for _, assertion, _ in together)
        if not self._begin(together[0][0], 2 * (count // CONCURRENT_MAX + 1) * limit):
            return False
        calls = [(assertion, look) for _, assertion, left in together for look in left]
        outcomes: list[Any] = loop.run_until_complete(_judge_together(calls))
        with self._lock:
            if self._is_abandoned:
                return False
            coming = iter(outcomes)
            for number, _, left in together:
                self._results[number].extend(itertools.islice(coming, len(left)))
        return True

    def _begin(self, number: int, limit: float) -> bool:
        with self._lock:
            self._current, self._started, self._limit = number, time.perf_counter(), limit
            return not self._is_abandoned


def _keys(assertion: Assertion, member: Member, started: float) -> tuple[str, ...] | Broken:
    try:
        return assertion.keys(member)
    except Exception as error:  # noqa: BLE001 users' code may raise anything
        return Broken(Fault.RAISED, reason_of(error), time.perf_counter() - started)


def _judge(assertion: Assertion, look: Look, started: float) -> Outcome | Step:
    try:
        if assertion.rule is not None:
            return Step(look.member.observation, assertion.rule.outputs(*look.member.typed(assertion.types)))
        returned = assertion.call(look.member, look.before)
        return _outcome(assertion, returned, time.perf_counter() - started)
    except Exception as error:  # noqa: BLE001 users' code may raise anything
        return broken(error, time.perf_counter() - started)


async def _judge_together(calls: Iterable[tuple[Assertion, Look]]) -> list[Outcome]:
    room = asyncio.Semaphore(CONCURRENT_MAX)

    async def one(assertion: Assertion, look: Look) -> Outcome:
        async with room:
            started = time.perf_counter()
            try:
                call: Coroutine[Any, Any, Any] = assertion.call(look.member, look.before)
                returned = await asyncio.wait_for(call, assertion.limit_seconds)
                return _outcome(assertion, returned, time.perf_counter() - started)
            except TimeoutError:
                return Broken(Fault.TIMED_OUT, _limit(assertion), time.perf_counter() - started)
            except Exception as error:  # noqa: BLE001 users' code may raise anything
                return broken(error, time.perf_counter() - started)

    return list(await asyncio.gather(*(one(*each) for each in calls)))


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
