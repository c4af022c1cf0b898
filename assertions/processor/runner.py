"""Runs the intake and the judging in one process, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable
from typing import Final, Self

from confluent_kafka.admin import AdminClient

from assertions.core.definition import Assertion
from assertions.errors import AssertionSetupError
from assertions.processor.agents import Processor
from assertions.processor.enforcing import check_enforceable
from assertions.processor.intake import Intake, intake_group
from assertions.processor.topics import group_topics, shared_topics
from streams.core.plan import Plan
from streams.runtime.topics import ensure_topics, set_session_timeouts
from streams.settings import KafkaSettings, PipelineSettings

PARTITIONS: Final = 4
"""Of the observation log: the most processes that can share the judging. Fixed once the topic exists."""


class Runner:
    """`async with Runner(...) as running: await running.wait()`, which raises what ended it."""

    def __init__(
        self,
        kafka: KafkaSettings,
        assertions: Iterable[Assertion],
        *,
        group: str = "default",
        plans: Iterable[Plan] = (),
        partitions: int = PARTITIONS,
        with_intake: bool = True,
    ) -> None:
        self._kafka: Final = kafka
        self._group: Final = group
        self._assertions: Final = list(assertions)
        if not self._assertions:
            raise AssertionSetupError("there is no assertion to run. Name the modules that define them.")
        self._partitions: Final = partitions
        self._plans: Final = {plan.pipeline: plan for plan in plans}
        check_enforceable(self._assertions, self._plans)
        self._with_intake: Final = with_intake
        self._failure: BaseException | None = None
        self._intake: Intake | None = None

    async def __aenter__(self) -> Self:
        """Return when what is produced from now on is judged. Raises what keeps it from starting."""
        self._loop = asyncio.get_running_loop()
        self._ready, self._ended = asyncio.Event(), asyncio.Event()
        await asyncio.to_thread(self._make_topics)
        self._processor = Processor(self._kafka, self._group, self._assertions, self._partitions, self._plans)
        self._processor.app.loop = self._loop
        await self._processor.app.start()
        self._crashed = asyncio.ensure_future(self._processor.app.wait_until_stopped())
        if self._with_intake:
            self._intake = Intake(
                self._kafka,
                self._group,
                self._assertions,
                self._partitions,
                self._plans.values(),
                on_ready=self._say_ready,
            )
            self._thread = threading.Thread(target=self._run_intake, args=(self._intake,), name="intake", daemon=True)
            self._thread.start()
        else:
            self._ready.set()
        try:
            await self._first(self._ready)
            if self._with_intake:  # whose ticks come on every partition
                await self._first(self._processor.is_judging)
            self._raise_failure()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def wait(self) -> None:
        """Return when Faust has stopped; raises what ended the intake or the judging."""
        await self._first(self._ended)
        self._raise_failure()

    async def __aexit__(self, *_: object) -> None:
        if self._intake is not None:
            self._intake.stop()
            await asyncio.to_thread(self._thread.join, 15)
        await self._processor.app.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await self._crashed
        await asyncio.to_thread(self._processor.close)

    async def _first(self, event: asyncio.Event) -> None:
        """Wait for the event, or for the end."""
        waiting = [asyncio.ensure_future(each.wait()) for each in {event, self._ended}]
        try:
            await asyncio.wait([*waiting, self._crashed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    def _raise_failure(self) -> None:
        failure = self._failure or self._processor.app.crash_reason
        if failure is not None:
            raise failure

    def _say_ready(self) -> None:
        self._loop.call_soon_threadsafe(self._ready.set)

    def _make_topics(self) -> None:
        ensure_topics(self._kafka, group_topics(self._group, self._partitions))
        ensure_shared(self._kafka)
        if self._with_intake:
            set_session_timeouts(self._kafka, [intake_group(self._group)], PipelineSettings())

    def _run_intake(self, intake: Intake) -> None:
        try:
            intake.run()
        except BaseException as error:  # noqa: BLE001 a thread's error reaches nobody by itself
            self._failure = error
        self._loop.call_soon_threadsafe(self._ended.set)


def ensure_shared(kafka: KafkaSettings) -> None:
    """The topics that all groups share, as they are if they exist."""
    existing = AdminClient(kafka.client()).list_topics(timeout=10).topics
    ensure_topics(kafka, [topic for topic in shared_topics() if topic.topic not in existing])
