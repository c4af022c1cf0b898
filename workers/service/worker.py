"""A worker: one process, one engine, some lanes of its model; chunks go straight to the next stage's topic."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import uuid
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Self

import structlog
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams import metrics
from streams.core.failure import Failure
from streams.core.lineage import Serial
from streams.core.offsets import SlotMetadata
from streams.runtime.authorization import check_access
from streams.runtime.follow import ControlFollower
from streams.runtime.offsets import OffsetLookup
from streams.runtime.ownership import SlotOwner, SlotState
from streams.runtime.poison import Poison, dead_letter
from streams.runtime.producer import LoopProducer
from streams.runtime.tasks import Tasks
from streams.runtime.threads import in_own_thread
from streams.runtime.topics import (
    MODELS,
    SET_UP_SECONDS,
    ensure_topics,
    model_dead_letters_topic,
    prompt_topic_of,
    prompts_topic,
    set_session_timeouts,
    state_topic,
    wait_for_kafka,
)
from streams.settings import KafkaSettings, PipelineSettings
from workers.access import ROLE, access_of_worker, workers_group
from workers.engines.admission import Admission
from workers.engines.protocol import Engine, ReportsCache
from workers.routing.blocks import BLOCK_TOKENS
from workers.service.announce import Announcer
from workers.service.lanes import LaneSlot
from workers.service.load import Load
from workers.service.prefixes import AssumedPrefixes, Prefixes, ReportedPrefixes
from workers.service.textlog import TextLog

READY_SECONDS: Final = 10.0
"""A worker that is given no lane within this time stands by: there are more workers than lanes."""

log = structlog.get_logger(__name__)


class Worker:
    """`async with Worker(engine, kafka) as worker: await worker.wait()`; the engine is started and closed with it."""

    def __init__(self, engine: Engine, kafka: KafkaSettings, settings: PipelineSettings | None = None) -> None:
        self.engine: Final = engine
        self.kafka: Final = kafka
        self._settings: Final = settings or PipelineSettings()
        counter = itertools.count(1)
        self.next_n: Final = lambda: next(counter)
        self._followers: Final[dict[str, ControlFollower]] = {}
        self._tasks: Final = Tasks(self.fatal)

    async def __aenter__(self) -> Self:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.places = Admission(self.engine.max_parallel)
        await self.engine.start()
        try:
            await self._join()
        except BaseException:
            await self.engine.close()
            raise
        return self

    def _set_up(self, topics: Sequence[NewTopic]) -> None:
        wait_for_kafka(self.kafka, AdminClient(self.kafka.client()))
        check_access(self.kafka, access_of_worker(self.engine.model))
        ensure_topics(self.kafka, topics)
        set_session_timeouts(self.kafka, [workers_group(self.engine.model)], self._settings)

    async def _join(self) -> None:
        model = self.engine.model
        topics = [
            prompt_topic_of(model, self._settings),
            state_topic(self._settings),
            model_dead_letters_topic(self._settings),
        ]
        await in_own_thread(self._set_up, topics, seconds=SET_UP_SECONDS)
        self.lookup = OffsetLookup(self.kafka)
        self.producer = LoopProducer(self.kafka, self.fatal)
        self.textlog = TextLog(self.kafka, self.lookup)
        self._owner = SlotOwner(
            self.kafka, self.lookup, workers_group(model), [prompts_topic(model)], self._open, self.fatal
        )
        self.load = Load(await self._prefixes())
        metrics.PROMPTS_WAITING.labels(model).set_function(lambda: self.load.waiting)
        metrics.PROMPTS_RUNNING.labels(model).set_function(lambda: self.load.running)
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._announcer = Announcer(self.producer, name, self.engine, self.load, self._lanes)
        self._owner.start()
        joined = asyncio.create_task(self._owner.has_joined.wait())
        waits: list[asyncio.Future[Any]] = [joined, self.failed]
        await asyncio.wait(waits, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        joined.cancel()
        if self.failed.done():
            self.failed.result()
        self.spawn(self._announcer.announce_for_ever())

    async def _prefixes(self) -> Prefixes:
        load = await self.engine.load()
        blocks = load.kv_blocks_total or self.engine.max_parallel * self.engine.max_context // BLOCK_TOKENS
        if isinstance(self.engine, ReportsCache) and self.engine.reports_cache:
            reported = ReportedPrefixes(blocks)
            self.engine.on_cache(reported.on)
            return reported
        return AssumedPrefixes(blocks)

    def _lanes(self) -> tuple[int, ...]:
        return tuple(sorted(s.partition for s in self._owner.states if isinstance(s, LaneSlot)))

    async def _open(self, partition: int, metadata: SlotMetadata, positions: dict[int, int]) -> SlotState:
        return LaneSlot(self, partition, metadata, positions[0])

    def fatal(self, error: BaseException) -> None:
        """Latched: the first is what `wait` raises."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def wait(self) -> None:
        """Return never; raises what made the worker unable to go on, EngineDeadError among it."""
        await asyncio.shield(self.failed)

    # -- closed requests -------------------------------------------------------------------------------------------

    def is_closed(self, pipeline: str, serial: Serial) -> bool:
        """As far as is known; a pipeline that is new to this worker is followed from now on."""
        follower = self._followers.get(pipeline)
        if follower is None:
            follower = ControlFollower(self.kafka, self.lookup, pipeline, self.fatal)
            self._followers[pipeline] = follower
            follower.listen(lambda closed: self._closed(pipeline, closed))
            follower.start()
            self.spawn(self._sweep(pipeline, follower))
        return follower.state.is_closed(serial)

    async def _sweep(self, pipeline: str, follower: ControlFollower) -> None:
        """What was taken before `control` was read may have been closed long ago."""
        await follower.ready.wait()
        for state in self._owner.states:
            if isinstance(state, LaneSlot):
                state.sweep(pipeline, follower.state.is_closed)

    def _closed(self, pipeline: str, serial: Serial) -> None:
        for state in self._owner.states:
            if isinstance(state, LaneSlot):
                state.closed(pipeline, serial)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.spawn(work)

    def dead_letter(self, message: Message, failure: Failure) -> None:
        """Of no pipeline, as far as one can tell: see `descant dead-letters list models`."""
        dead_letter(self.producer, MODELS, Poison.of(message), ROLE, failure)

    async def __aexit__(self, *_: object) -> None:
        """Hand the lanes back: what was being written is continued, or written again, by their next owner."""
        self._announcer.leave()
        self.lookup.close()
        await self._owner.close()
        await self._tasks.close()
        await self.producer.close()
        await asyncio.gather(*(follower.close() for follower in self._followers.values()))
        await self.engine.close()
        await self.textlog.close()
        if self.failed.done():
            self.failed.exception()
