"""Runs the intake and the judging in one process, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable
from typing import Final

from confluent_kafka.admin import AdminClient

from assertions.core.definition import Assertion
from assertions.errors import AssertionSetupError
from assertions.processor.agents import Processor
from assertions.processor.intake import Intake, intake_group
from assertions.processor.topics import group_topics, shared_topics
from streams.core.plan import Plan
from streams.runtime.topics import ensure_topics, set_session_timeouts
from streams.settings import KafkaSettings, PipelineSettings

PARTITIONS: Final = 4
"""Of the observation log: the most processes that can share the judging. Fixed once the topic exists."""


class Runner:
    """`await run()` until `stop()`, or raises what ended it."""

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
        self._plans: Final = list(plans)
        self._with_intake: Final = with_intake
        self._ended: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._intake: Intake | None = None

    @property
    def is_ready(self) -> bool:
        """What is produced from now on is seen."""
        return self._intake is not None and (not self._with_intake or self._intake.is_ready.is_set())

    def stop(self) -> None:
        """From the loop's thread."""
        if self._ended is not None:
            self._ended.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        await asyncio.to_thread(self._make_topics)
        processor = Processor(self._kafka, self._group, self._assertions, self._partitions)
        app = processor.app
        app.loop = loop
        intake = self._new_intake()
        thread = threading.Thread(target=self._run_intake, args=(intake, loop), name="intake", daemon=True)
        await app.start()
        self._intake = intake
        if self._with_intake:
            thread.start()
        crashed = asyncio.ensure_future(app.wait_until_stopped())
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({crashed, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            intake.stop()
            if thread.is_alive():
                await asyncio.to_thread(thread.join, 15)
            ended.cancel()
            await app.stop()
            with contextlib.suppress(asyncio.CancelledError):
                await crashed
            await asyncio.to_thread(processor.close)
        failure = self._failure or app.crash_reason
        if failure is not None:
            raise failure

    def _new_intake(self) -> Intake:
        return Intake(self._kafka, self._group, self._assertions, self._partitions, self._plans)

    def _make_topics(self) -> None:
        ensure_topics(self._kafka, group_topics(self._group, self._partitions))
        ensure_shared(self._kafka)
        if self._with_intake:
            set_session_timeouts(self._kafka, [intake_group(self._group)], PipelineSettings())

    def _run_intake(self, intake: Intake, loop: asyncio.AbstractEventLoop) -> None:
        try:
            intake.run()
        except BaseException as error:  # noqa: BLE001 a thread's error reaches nobody by itself
            self._failure = error
            loop.call_soon_threadsafe(self.stop)


def ensure_shared(kafka: KafkaSettings) -> None:
    """The topics that all groups share, as they are if they exist."""
    existing = AdminClient(kafka.client()).list_topics(timeout=10).topics
    ensure_topics(kafka, [topic for topic in shared_topics() if topic.topic not in existing])
