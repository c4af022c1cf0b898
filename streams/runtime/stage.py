"""A stage in this process: its slots, the functions that run in them, and what they emit."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final, assert_never

from confluent_kafka import KafkaError, Message

from streams import metrics
from streams.core.effects import Effect, Emit, Failed, Reject, Result, Route, Run, Start, Stop, Wake
from streams.core.failure import Failure
from streams.core.group import Shape
from streams.core.lineage import Layout, Serial, routing_key
from streams.core.offsets import SlotMetadata
from streams.core.partition import partition_of
from streams.core.plan import StagePlan
from streams.core.record import Envelope, Kind, parse_envelope
from streams.core.slot import Slot
from streams.errors import RecordError
from streams.flow import Prompt
from streams.runtime.consumer import headers_of
from streams.runtime.execute import StageCode
from streams.runtime.ownership import SlotOwner, SlotState
from streams.runtime.poison import Poison
from streams.runtime.producer import RECORD_BYTES_MAX
from streams.runtime.route import ROUTE_HEADER, SAMPLING_FIELDS, PromptRecord
from streams.runtime.services import Services
from streams.runtime.spans import RunSpans
from streams.runtime.topics import group_of, prompts_topic
from streams.tracing import current


class StageRole:
    """The consumer group `<pipeline>.<stage>`."""

    def __init__(self, services: Services, stage: StagePlan) -> None:
        self._services: Final = services
        self._shape: Final = Shape(services.plan, stage, Layout(services.plan))
        self._code: Final = StageCode(services.plan, stage)
        self.name: Final = stage.name
        topics = [services.plan.topic(source) for source in stage.sources]
        group = group_of(services.plan.pipeline, stage.name)
        self.owner: Final = SlotOwner(services.kafka, services.lookup, group, topics, self._open, services.fatal)
        services.slots[stage.name] = lambda: len(self.owner.states)
        services.follower.listen(self._closed)

    def start(self) -> None:
        self.owner.start()

    async def _open(self, partition: int, metadata: SlotMetadata, positions: dict[int, int]) -> SlotState:
        await self._services.follower.ready.wait()
        return StageSlot(self._services, self._shape, self._code, partition, metadata, positions)

    def _closed(self, serial: Serial) -> None:
        for state in self.owner.states:
            if isinstance(state, StageSlot):
                state.closed(serial)

    async def close(self) -> None:
        await self.owner.close()


class _Task:
    __slots__ = ("task", "wake")

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class StageSlot:
    """Carries out the effects of one core slot."""

    def __init__(
        self,
        services: Services,
        shape: Shape,
        code: StageCode,
        partition: int,
        metadata: SlotMetadata,
        positions: dict[int, int],
    ) -> None:
        self._services: Final = services
        self._code: Final = code
        self._topic: Final = services.plan.topic(shape.stage.name)
        self._key_depth: Final = shape.stage.key_depth
        self._slot: Final = Slot(
            shape,
            partition,
            metadata=metadata,
            positions=positions,
            next_n=services.next_n,
            is_closed=services.follower.state.is_closed,
        )
        names = services.plan.pipeline, shape.stage.name
        self._done: Final = metrics.RUNS.labels(*names, "done")
        self._failed: Final = metrics.RUNS.labels(*names, "failed")
        self._stopped: Final = metrics.RUNS.labels(*names, "stopped")
        self._seconds: Final = metrics.RUN_SECONDS.labels(*names)
        tracing = current()
        self._spans: Final = None if tracing is None else RunSpans(tracing, services.plan.pipeline)
        self._tasks: Final[dict[Run, _Task]] = {}
        self._todo: Final[deque[Iterable[Effect]]] = deque()
        self._message: Message | None = None
        self._is_applying = False
        self._is_dropped = False

    # -- SlotState -------------------------------------------------------------------------------------------------

    def record(self, source: int, message: Message) -> None:
        try:
            envelope = parse_envelope(headers_of(message))
        except RecordError as error:
            self._slot.offsets[source].saw(message.offset() or 0, None)
            failure = Failure(error.code, str(error), self._code.stage.name)
            self._services.dead_letter(message, self._code.stage.name, failure)
            return
        self._message = message
        self._apply(self._slot.record(source, message.offset() or 0, envelope, message.value()))

    def caught_up(self) -> None:
        self._apply(self._slot.caught_up())

    def closed(self, serial: Serial) -> None:
        effects = self._slot.closed(serial)
        if effects:  # nearly always everything of it has ended
            self._apply(effects)

    def committable(self) -> tuple[dict[int, int], SlotMetadata]:
        return self._slot.committable()

    def drop(self) -> None:
        self._is_dropped = True
        for task in self._tasks.values():
            if task.task is not None:
                task.task.cancel()
        self._tasks.clear()
        if self._spans is not None:
            self._spans.close()

    # -- effects ---------------------------------------------------------------------------------------------------

    def _apply(self, effects: Iterable[Effect]) -> None:
        """In order, and one at a time: what an effect leads to comes after what is under way."""
        self._todo.append(effects)
        if self._is_applying:
            return
        self._is_applying = True
        try:
            while self._todo:
                for effect in self._todo.popleft():
                    if self._is_dropped:
                        return
                    self._carry_out(effect)
        finally:
            self._is_applying = False

    def _carry_out(self, effect: Effect) -> None:
        match effect:  # by class only: taken apart in the pattern, it takes 0.33 µs instead of 0.13
            case Emit():
                self._emit(effect.run, effect.envelope, effect.value)
            case Start():
                self._start(effect.run)
            case Wake():
                task = self._tasks.get(effect.run)
                if task is not None:
                    task.wake.set()
            case Stop():
                self._stop(effect.run)
            case Route():
                self._route(effect.run, effect.envelope, effect.value)
            case Reject():
                if self._message is not None:
                    self._reject(self._message, effect.envelope, effect.error)
            case _:
                assert_never(effect)

    def _reject(self, message: Message, envelope: Envelope, error: RecordError) -> None:
        name = self._code.stage.name
        if envelope.kind is Kind.REVISE:  # of somebody outside the flow, perhaps of an older one: no reason to fail
            self._services.dead_letter(message, name, Failure(error.code, str(error), name))
        else:
            self._services.reject(message, name, envelope, error)

    def _start(self, run: Run) -> None:
        if self._spans is not None:
            self._spans.start(run)
        if self._code.is_inline:
            result = self._code.call_inline(run, partial(self._child, run))
            self._returned(run, result)
            return
        task = self._tasks[run] = _Task()
        task.task = asyncio.create_task(self._run(run, task))

    async def _run(self, run: Run, task: _Task) -> None:
        began = time.monotonic()
        try:
            result = await self._code.call(run, task.wake, partial(self._child, run))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 — a task's error reaches nobody by itself
            self._services.fatal(error)
            return
        self._seconds.observe(time.monotonic() - began)
        self._tasks.pop(run, None)
        self._returned(run, result)

    def _note(self, result: Result) -> None:
        if not isinstance(result, Failed):
            self._done.inc()
            return
        self._failed.inc()
        held = result.unreadable
        if held is not None:
            source = self._services.plan.topic(self._code.stage.sources[held.source])
            headers = held.envelope.headers()
            poison = Poison(source, self._slot.partition, held.offset, held.envelope.id, held.value, headers)
            self._services.poison(poison, self._code.stage.name, result.failure)

    def _returned(self, run: Run, result: Result) -> None:
        self._note(result)
        self._apply(self._slot.returned(run, result))
        if self._spans is not None:
            self._todo.append(self._ended(run, result))
            self._apply(())

    def _ended(self, run: Run, result: Result) -> Iterator[Effect]:
        """No effect; in its turn, after those that the result leads to, the run's span ends."""
        if self._spans is not None:
            self._spans.end(run, result)
        yield from ()

    def _child(self, run: Run, value: bytes) -> None:
        self._apply(self._slot.child(run, value))

    def _stop(self, run: Run) -> None:
        task = self._tasks.pop(run, None)
        if task is not None and task.task is not None:
            task.task.cancel()
            self._stopped.inc()
            if self._spans is not None:
                self._spans.end(run, None)

    def _emit(self, run: Run | None, envelope: Envelope, value: bytes | None) -> None:
        if run is not None and value is not None and len(value) > RECORD_BYTES_MAX:
            self._too_large(run, len(value))
            return
        if self._spans is not None:
            envelope = self._spans.marked(run, envelope)
        key = routing_key(envelope.id, envelope.path, self._key_depth)
        on_delivery = None if run is None else partial(self._delivered, run)
        self._services.producer.send(self._topic, key, value, envelope.headers(), on_delivery)

    def _route(self, run: Run, envelope: Envelope, value: bytes) -> None:
        if self._spans is not None:
            envelope = self._spans.marked(run, envelope)
        prompt = Prompt.model_validate_json(value)
        options = self._code.stage.options
        own = prompt.model_dump(include=set(SAMPLING_FIELDS), exclude_none=True)
        sampling = {k: options[k] for k in SAMPLING_FIELDS if options.get(k) is not None} | own
        key = routing_key(envelope.id, envelope.path, self._key_depth)
        partition = partition_of(key.encode(), self._services.settings.partitions)
        weight = self._services.router.weight(envelope)
        whole = bool(options.get("whole", False))
        record = PromptRecord(prompt.text, sampling, self._topic, partition, key, weight, whole)
        model = str(options["model"])
        placed = self._services.lane(model, envelope, record)
        body = record.encode()
        if len(body) > RECORD_BYTES_MAX:
            self._too_large(run, len(body))
            return
        self._services.producer.send(
            prompts_topic(model),
            envelope.id,
            body,
            [*envelope.headers(), (ROUTE_HEADER, placed.why.encode())],
            partial(self._delivered, run),
            partition=placed.lane,
        )

    def _too_large(self, run: Run, size: int) -> None:
        name = self._code.stage.name
        message = f"stage {name!r} gave a value of {size} bytes, more than {RECORD_BYTES_MAX}"
        self._apply(self._slot.returned(run, Failed(Failure("limits.record", message, name))))

    def _delivered(self, run: Run, error: KafkaError | None, _: Message | None) -> None:
        if self._is_dropped:
            return
        if error is None:
            self._slot.acked(run)
        else:
            name = self._code.stage.name
            failure = Failure("stage.delivery", f"Kafka refused a record of stage {name!r}: {error.str()}", name)
            self._apply(self._slot.returned(run, Failed(failure)))
