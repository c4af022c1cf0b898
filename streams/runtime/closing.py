"""The closer in this process: joins the terminal stage's output with the request and ends it, exactly once."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.core.branches import Next
from streams.core.closer import AnsweredIds, Close, Closer
from streams.core.control import ControlEntry
from streams.core.failure import Failure
from streams.core.group import Shape
from streams.core.lineage import Layout, Serial
from streams.core.offsets import SlotMetadata
from streams.core.plan import REQUEST, InputMode, InputPlan, Plan, StageKind, StagePlan
from streams.core.record import Envelope, parse_envelope
from streams.core.slot import Effect, Emit, Reject, Run, Slot, Start, Value, Wake
from streams.errors import RecordError
from streams.runtime.consumer import CALL_SECONDS, CONSUMER_CONFIG, POLL_SECONDS, headers_of, retrying
from streams.runtime.ownership import SlotOwner, SlotState
from streams.runtime.services import Services
from streams.runtime.threads import in_own_thread
from streams.runtime.topics import answers_topic, control_topic, group_of
from streams.runtime.transaction import (
    WRITE_SECONDS,
    NotCommittedError,
    OutRecord,
    TransactionWriter,
    UnknownOutcomeError,
)

ROLE: Final = "closer"

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
        self._tasks: Final[list[asyncio.Task[None]]] = []
        self._is_closing = False
        self.owner = self._new_owner()

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

    async def _until_idle(self) -> None:
        await self._idle.wait()

    def start(self) -> None:
        self.owner.start()
        self._tasks.append(asyncio.create_task(self._guard(self._write_for_ever())))
        self._tasks.append(asyncio.create_task(self._guard(self._watch_deadlines())))

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 — a task's error reaches nobody by itself
            self._services.fatal(error)

    async def _open(self, partition: int, metadata: SlotMetadata, positions: dict[int, int]) -> SlotState:
        """PROTOCOL §9.5: what was answered is read from the answers themselves, after our fenced commit."""
        await self._services.follower.read_up_to_now(partition)
        start = metadata.answers_position or 0
        committed = positions[self._shape.sources.index(REQUEST)]
        topic = answers_topic(self._services.plan.pipeline)
        end = (await self._services.lookup.ends([(topic, partition)]))[topic, partition]
        answered = await asyncio.to_thread(self._read_answered, partition, start, end)
        answered.forget(committed)
        return CloserSlot(self._services, self._shape, partition, metadata, positions, answered, end, self._decide)

    def _read_answered(self, partition: int, start: int, end: int) -> AnsweredIds:
        found = AnsweredIds(self._services.settings.idempotency_window)
        topic = answers_topic(self._services.plan.pipeline)
        config = {k: v for k, v in CONSUMER_CONFIG.items() if not k.startswith("group.")}
        group = f"{self._services.plan.pipeline}.closer.restore"
        consumer = Consumer(
            {**self._services.kafka.client(), **config, "enable.partition.eof": True, "group.id": group}
        )
        try:
            at = TopicPartition(topic, partition)
            low, _ = retrying(lambda: consumer.get_watermark_offsets(at, timeout=CALL_SECONDS, cached=False))
            position = max(start, low)
            consumer.assign([TopicPartition(topic, partition, position)])
            while position < end:
                message = consumer.poll(POLL_SECONDS)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    position = (message.offset() or 0) + 1
                    _remember(found, message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    position = message.offset() or 0  # behind the last marker, or before a transaction still open
            return found
        finally:
            consumer.close()

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
        while True:
            # Before ownership is looked at: if it is lost later, the coordinator knows this metadata as stale.
            group = await self.owner.consumer_thread.call(lambda consumer: consumer.consumer_group_metadata())
            batch = [(slot, close) for slot, close in batch if not slot.is_dropped]
            if not batch or self._writer is None:
                return
            slots = list(dict.fromkeys(slot for slot, _ in batch))
            records = [r for s in slots for r in s.compose([close for slot, close in batch if slot is s])]
            offsets = [p for slot in slots for p in self.owner.places(slot.partition, *slot.committable())]
            try:
                await in_own_thread(self._writer.write, records, offsets, group, seconds=WRITE_SECONDS)
            except NotCommittedError as error:
                log.warning("transaction aborted", reason=str(error))
                await asyncio.sleep(DEADLINE_TICK_SECONDS)  # a rebalance is under way; it says what is still ours
                continue
            except (UnknownOutcomeError, TimeoutError) as error:
                log.warning("transaction outcome unknown", reason=str(error) or "no reply in time")
                await self._start_over()
                return
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
        await self.owner.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _remember(found: AnsweredIds, message: Message) -> None:
    try:
        envelope = parse_envelope(headers_of(message))
    except RecordError:
        return  # only a closer may write here; a stray record answers nothing
    if envelope.serial is not None:
        found.written(envelope.id, message.offset() or 0, envelope.serial.offset)


class CloserSlot:
    """One accepted partition: the core slot that joins, the core closer that decides, and what is being written."""

    def __init__(
        self,
        services: Services,
        shape: Shape,
        partition: int,
        metadata: SlotMetadata,
        positions: dict[int, int],
        answered: AnsweredIds,
        answers_end: int,
        decide: Callable[[CloserSlot, Close], None],
    ) -> None:
        self._services: Final = services
        self._shape: Final = shape
        self.partition: Final = partition
        self._closed: Final = services.follower.state.of(partition)
        self._closer: Final = Closer(self._closed, answered)
        self._closer.position = positions[shape.sources.index(REQUEST)]
        self._slot: Final = Slot(
            shape,
            partition,
            metadata=metadata,
            positions=positions,
            next_n=services.next_n,
            is_closed=self._is_closed,
        )
        self._answers_end = answers_end
        self._decide: Final = decide
        self._composed: Final[dict[int, OutRecord | None]] = {}
        self._message: Message | None = None
        self.is_dropped = False

    def _is_closed(self, serial: Serial) -> bool:
        if serial.partition == self.partition:
            return self._closer.is_closed(serial.offset)
        return self._services.follower.state.is_closed(serial)

    # -- SlotState -------------------------------------------------------------------------------------------------

    def record(self, source: int, message: Message) -> None:
        offset = message.offset() or 0
        self._message = message
        try:
            envelope = parse_envelope(headers_of(message))
        except RecordError as error:
            self._slot.offsets[source].saw(offset, None)
            self._services.dead_letter(message, ROLE, Failure(error.code, str(error), ROLE))
            return
        if self._shape.sources[source] == REQUEST:
            for close in self._closer.accepted(offset, envelope, message.value()):
                self._end(close)
            self._apply(self._slot.record(source, offset, envelope, message.value()))
        elif envelope.serial is not None and envelope.serial.partition != self.partition:
            self._slot.offsets[source].saw(offset, None)
            failure = Failure("record.partition", "the record's request lives on another partition", ROLE)
            self._services.dead_letter(message, ROLE, failure)
        else:
            self._apply(self._slot.record(source, offset, envelope, message.value()))

    def caught_up(self) -> None:
        self._apply(self._slot.caught_up())

    def due(self, now_ms: int) -> None:
        for close in self._closer.due(now_ms):
            self._end(close)

    def committable(self) -> tuple[dict[int, int], SlotMetadata]:
        offsets, metadata = self._slot.committable()
        accepted = self._shape.sources.index(REQUEST)
        offsets[accepted] = min(offsets[accepted], self._closer.committable)
        self._closer.answered.forget(offsets[accepted])
        position = self._closer.answered.position(self._answers_end)
        return offsets, SlotMetadata(metadata.epoch, position)

    def drop(self) -> None:
        self.is_dropped = True

    # -- deciding --------------------------------------------------------------------------------------------------

    def _apply(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Start(run) | Wake(run):
                    if run.node.group.is_complete:
                        self._apply(self._slot.returned(run, Value(self._value(run))))
                case Emit(envelope=envelope, value=value) if envelope.serial is not None:
                    for close in self._closer.answer(envelope.serial.offset, self._as_answer(envelope), value):
                        self._end(close)
                case Reject(envelope=envelope, error=error) if self._message is not None:
                    self._services.reject(self._message, ROLE, envelope, error)
                case _:
                    pass  # nothing runs here that could be stopped, and no prompt is routed

    def _value(self, run: Run) -> bytes:
        group = run.node.group
        if not self._shape.streams:
            return group.plain(1).value or b"null"
        parts = []
        for piece in group.pieces(1):
            if isinstance(piece, Next):
                break
            parts.append(piece.text)
        return json.dumps("".join(parts), ensure_ascii=False).encode()

    def _as_answer(self, envelope: Envelope) -> Envelope:
        """As the terminal stage's own: clients that watched the stream know its lineage."""
        return envelope._replace(stage=self._services.plan.answer, lin=envelope.lin[:-1])

    def _end(self, close: Close) -> None:
        """The slot keeps what it holds of the request, and so its offsets, until a transaction writes its end."""
        self._decide(self, close)

    # -- writing ---------------------------------------------------------------------------------------------------

    def compose(self, closes: Sequence[Close]) -> list[OutRecord]:
        """The records that end these requests: their answers, where they have one, and their control entries.

        From here on `committable` is beyond them: it goes out in the same transaction."""
        for close in closes:
            self._closer.covered(close)
            self._apply(self._slot.closed(Serial(self.partition, close.offset)))
        low = self._closer.committable
        since = self._closed.since(low)
        return [record for close in closes for record in self._compose(close, low, since)]

    def _compose(self, close: Close, low: int, since: int) -> Iterator[OutRecord]:
        pipeline = self._services.plan.pipeline
        answer = None
        if close.envelope is not None:
            envelope = close.envelope._replace(serial=Serial(self.partition, close.offset))
            answer = OutRecord(answers_topic(pipeline), self.partition, close.id, close.value, envelope.headers())
            yield answer
        self._composed[close.offset] = answer
        entry = ControlEntry(close.offset, close.reason, low, since)
        yield OutRecord(control_topic(pipeline), self.partition, close.id, entry.encode())

    def written(self, close: Close) -> None:
        answer = self._composed.pop(close.offset)
        if answer is not None:
            self._closer.answered.written(close.id, answer.offset, close.offset)
            self._answers_end = max(self._answers_end, answer.offset + 1)
