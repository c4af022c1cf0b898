"""The closer in this process: joins the terminal stage's output with the request and ends it, exactly once."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from typing import Final

import structlog
from confluent_kafka import Message

from streams import metrics
from streams.core.answered import AnsweredIds
from streams.core.closer import Close
from streams.core.group import Shape
from streams.core.lineage import Layout
from streams.core.offsets import SlotMetadata
from streams.core.plan import REQUEST, InputMode, InputPlan, Plan, StageKind, StagePlan
from streams.core.record import parse_envelope
from streams.errors import RecordError
from streams.runtime.closer_slot import ROLE, CloserSlot
from streams.runtime.consumer import headers_of
from streams.runtime.hanging import HangingTransactions
from streams.runtime.ownership import SlotOwner, SlotState
from streams.runtime.ranges import records_between
from streams.runtime.services import Services
from streams.runtime.tasks import Tasks
from streams.runtime.threads import in_own_thread
from streams.runtime.topics import answers_topic, group_of
from streams.runtime.transaction import (
    WRITE_SECONDS,
    NotCommittedError,
    TransactionWriter,
    UnknownOutcomeError,
)

BATCH_CLOSINGS: Final = 500
"""Closings in one transaction: it stays well below its time-out even on a slow broker."""

DEADLINE_TICK_SECONDS: Final = 0.1

log = structlog.get_logger(__name__)


def closer_stage(plan: Plan) -> StagePlan:
    """The implicit last stage (docs/decisions/closer-is-its-own-stage.md)."""
    last = plan[plan.answer]
    is_text = last.kind is StageKind.MODEL
    return StagePlan(
        name=ROLE,
        kind=StageKind.MAP,
        function=closer_stage,
        inputs=(
            InputPlan("request", REQUEST, InputMode.ITEM, 0, is_text=False, item_type=plan.request_type),
            InputPlan(
                "answer",
                last.name,
                InputMode.STREAM if is_text else InputMode.ITEM,
                0,
                is_text=is_text,
                item_type=plan.answer_type,
            ),
        ),
        ancestry=(),
        lineage=(*last.lineage, ROLE),
        output_type=plan.answer_type,
        key_depth=0,
        retries=0,
    )


class CloserRole:
    """The consumer group `<pipeline>.closer` and its transactions."""

    name: Final = ROLE

    def __init__(self, services: Services) -> None:
        self._services: Final = services
        stage = closer_stage(services.plan)
        self._shape: Final = Shape(services.plan, stage, Layout(services.plan))
        self._due: Final[deque[tuple[CloserSlot, Close]]] = deque()
        self._has_work: Final = asyncio.Event()
        self._idle: Final = asyncio.Event()
        self._idle.set()
        self._writer: TransactionWriter | None = None
        self._tasks: Final = Tasks(services.fatal)
        self._transaction_seconds: Final = metrics.TRANSACTION_SECONDS.labels(services.plan.pipeline)
        metrics.OPEN.labels(services.plan.pipeline).set_function(self._open_count)
        self._is_closing = False
        self.owner = self._new_owner()
        self._hanging: Final = HangingTransactions(
            services.kafka, services.plan, group_of(services.plan.pipeline, ROLE), services.lookup
        )

    def _new_owner(self) -> SlotOwner:
        plan = self._services.plan
        return SlotOwner(
            self._services.kafka,
            self._services.lookup,
            group_of(plan.pipeline, ROLE),
            [plan.topic(source) for source in self._shape.sources],
            self._open,
            self._services.fatal,
            commits_itself=False,
            before_release=self._until_idle,
        )

    def _open_count(self) -> int:
        return sum(state.open_count for state in self.owner.states if isinstance(state, CloserSlot))

    async def _until_idle(self) -> None:
        await self._idle.wait()

    def start(self) -> None:
        self.owner.start()
        self._tasks.spawn(self._write_for_ever())
        self._tasks.spawn(self._watch_deadlines())
        self._tasks.spawn(self._hanging.watch(lambda: self.owner.partitions))

    async def _open(self, partition: int, metadata: SlotMetadata, positions: dict[int, int]) -> SlotState:
        """PROTOCOL §9.5: what was answered is read from the answers themselves, after our fenced commit."""
        await self._services.follower.read_up_to_now(partition)
        start = metadata.answers_position or 0
        topic = answers_topic(self._services.plan.pipeline)
        end = (await self._services.lookup.ends([(topic, partition)]))[topic, partition]
        answered = await asyncio.to_thread(self._read_answered, partition, start, end)
        if metadata.answers_position is None:
            # Else a position keeps what is still needed, which may be more than the window: repetitions that were known
            # as such are, until they are committed.
            answered.forget(positions[self._shape.sources.index(REQUEST)])
        return CloserSlot(self._services, self._shape, partition, metadata, positions, answered, end, self._decide)

    def _read_answered(self, partition: int, start: int, end: int) -> AnsweredIds:
        found = AnsweredIds(self._services.settings.idempotency_window)
        place = answers_topic(self._services.plan.pipeline), partition
        begin = max(start, self._services.lookup.beginning(place))
        group = f"{self._services.plan.pipeline}.closer.restore"
        for message in records_between(self._services.kafka, place, begin, end, group=group):
            _remember(found, message)
        return found

    # -- transactions ----------------------------------------------------------------------------------------------

    def _decide(self, slot: CloserSlot, close: Close) -> None:
        self._due.append((slot, close))
        self._has_work.set()

    async def _write_for_ever(self) -> None:
        self._writer = await asyncio.to_thread(self._new_writer)
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._due:
                batch = self._take_batch()
                if batch:
                    self._idle.clear()
                    try:
                        await self._write(batch)
                    finally:
                        self._idle.set()

    def _new_writer(self) -> TransactionWriter:
        # Zombies are fenced by the group, not by this id; a fresh one never has to wait for somebody else's.
        writer = TransactionWriter(
            self._services.kafka, f"{self._services.plan.pipeline}.{ROLE}.{uuid.uuid4().hex[:12]}"
        )
        writer.begin_service()
        return writer

    def _take_batch(self) -> list[tuple[CloserSlot, Close]]:
        batch: list[tuple[CloserSlot, Close]] = []
        while self._due and len(batch) < BATCH_CLOSINGS:
            slot, close = self._due.popleft()
            if not slot.is_dropped:
                batch.append((slot, close))
        return batch

    async def _write(self, batch: list[tuple[CloserSlot, Close]]) -> None:
        consumer = self.owner.consumer_thread
        # Taken before ownership is looked at: if it is lost later, the coordinator knows this metadata as stale. So it
        # does if the group has changed since; then it is asked for, which waits for the thread to end its poll.
        group = consumer.group_metadata
        while True:
            if group is None:
                group = await consumer.call(lambda consumer: consumer.consumer_group_metadata())
            batch = [(slot, close) for slot, close in batch if not slot.is_dropped]
            if not batch or self._writer is None:
                return
            slots = list(dict.fromkeys(slot for slot, _ in batch))
            stamp = self._writer.next_stamp()
            records = [r for s in slots for r in s.compose([close for slot, close in batch if slot is s], stamp)]
            offsets = [p for slot in slots for p in self.owner.places(slot.partition, *slot.committable())]
            began = time.monotonic()
            try:
                await in_own_thread(self._writer.write, records, offsets, group, seconds=WRITE_SECONDS)
            except NotCommittedError as error:
                log.warning("transaction aborted", reason=str(error))
                group = None
                # Another one, as whoever finds later that a partition was not told of the end must know that it was an
                # abort; and the same writer's next end would be taken for this one's, too.
                self._writer = await asyncio.to_thread(self._new_writer)
                await asyncio.sleep(DEADLINE_TICK_SECONDS)  # a rebalance is under way; it says what is still ours
                continue
            except (UnknownOutcomeError, TimeoutError) as error:
                log.warning("transaction outcome unknown", reason=str(error) or "no reply in time")
                await self._start_over()
                return
            self._transaction_seconds.observe(time.monotonic() - began)
            self.owner.note_committed(offsets)
            for slot, close in batch:
                slot.written(close)
            return

    async def _start_over(self) -> None:
        """Leave and join again: the takeover reads what really is on `answers`."""
        self._due.clear()
        self._idle.set()
        self._writer = None
        await self.owner.close()
        if not self._is_closing:
            self._writer = await asyncio.to_thread(self._new_writer)
            self.owner = self._new_owner()
            self.owner.start()

    async def _watch_deadlines(self) -> None:
        while True:
            await asyncio.sleep(DEADLINE_TICK_SECONDS)
            now_ms = int(time.time() * 1000)
            for state in self.owner.caught_up_states:
                if isinstance(state, CloserSlot):
                    state.due(now_ms)

    async def close(self) -> None:
        self._is_closing = True
        self._hanging.close()
        await self.owner.close()
        await self._tasks.close()


def _remember(found: AnsweredIds, message: Message) -> None:
    try:
        envelope = parse_envelope(headers_of(message))
    except RecordError:
        return  # only a closer may write here; a stray record answers nothing
    if envelope.serial is not None:
        found.written(envelope.id, message.offset() or 0, envelope.serial.offset)
