"""Ingress in this process: public requests in, accepted records out; it alone may pause (PROTOCOL §9)."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message
from pydantic import TypeAdapter, ValidationError

from streams import metrics
from streams.core.ingress import Ingress, IngressLimits
from streams.core.offsets import SlotMetadata
from streams.core.partition import partition_of
from streams.core.plan import REQUEST
from streams.errors import BrokerError
from streams.runtime.consumer import headers_of
from streams.runtime.ownership import SlotOwner, SlotState
from streams.runtime.services import Services
from streams.runtime.tasks import Tasks
from streams.runtime.topics import group_of, requests_topic
from streams.tracing import current, traceparent_of

ROLE: Final = "ingress"

LOOK_SECONDS: Final = 0.25
"""Between looks at how full the pipeline is, while it is full or other instances of ingress may be filling it."""


class IngressRole:
    """The consumer group `<pipeline>.ingress`."""

    name: Final = ROLE

    def __init__(self, services: Services) -> None:
        self._services: Final = services
        plan, settings = services.plan, services.settings
        limits = IngressLimits(settings.request_bytes_max, settings.deadline_seconds)
        self.core: Final = Ingress(plan.digest, _validator(plan.request_type), limits)
        self._tracing: Final = current()
        self._waiting: Final[deque[tuple[IngressSlot, Message]]] = deque()
        self._is_paused = False
        self._pausing: asyncio.Task[None] | None = None
        self._tasks: Final = Tasks(services.fatal)
        metrics.WAITING.labels(plan.pipeline).set_function(lambda: len(self._waiting))
        self._ends: Final[dict[int, int]] = {}
        self._on_the_way: Final[dict[int, int]] = {}
        self.owner: Final = SlotOwner(
            services.kafka,
            services.lookup,
            group_of(plan.pipeline, ROLE),
            [requests_topic(plan.pipeline)],
            self._open,
            services.fatal,
        )

    def start(self) -> None:
        self.owner.start()
        self._tasks.spawn(self._watch())

    async def _open(self, partition: int, metadata: SlotMetadata, positions: dict[int, int]) -> SlotState:
        await self._services.follower.ready.wait()
        if not self._ends:
            await self._look()
        return IngressSlot(self, metadata, positions[0])

    # -- admission -------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        topic = self._services.plan.topic(REQUEST)
        places = [(topic, q) for q in range(self._services.settings.partitions)]
        for (_, q), end in (await self._services.lookup.ends(places)).items():
            self._ends[q] = max(end, self._ends.get(q, 0))

    def _has_room(self, q: int) -> bool:
        """PROTOCOL §9.7: from `accepted` and `control` alone, so that a crash neither leaks nor forgets credits."""
        open_at_most = self._ends.get(q, 0) + self._on_the_way.get(q, 0) - self._services.follower.state.of(q).low
        return open_at_most < self._services.settings.admission_window

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._waiting:
                await self._look()
                self._drain()

    def take(self, slot: IngressSlot, message: Message) -> None:
        self._waiting.append((slot, message))
        self._drain()

    def _drain(self) -> None:
        """Accept in order while there is room; a partition that is full holds up the others, never the stages."""
        while self._waiting:
            slot, message = self._waiting[0]
            q = partition_of(_key(message), self._services.settings.partitions)
            if not slot.is_dropped and not self._has_room(q):
                self._pause()
                return
            self._waiting.popleft()
            if not slot.is_dropped:
                self._accept(slot, message, q)
        if self._is_paused:
            self._is_paused = False
            self._tasks.spawn(self.owner.consumer_thread.call(_resume))

    def _pause(self) -> None:
        """Again with every batch that comes nevertheless: partitions that were assigned meanwhile are not paused."""
        self._is_paused = True
        if self._pausing is None or self._pausing.done():
            self._pausing = self._tasks.spawn(self.owner.consumer_thread.call(_pause))

    def _accept(self, slot: IngressSlot, message: Message, q: int) -> None:
        accepted = self.core.accept(
            message.partition() or 0,
            message.offset() or 0,
            message.key(),
            message.value(),
            {name: value or b"" for name, value in headers_of(message)},
            int(time.time() * 1000),
        )
        if accepted.dead is not None:
            self._services.dead_letter(message, ROLE, accepted.dead)
        metrics.ACCEPTED.labels(self._services.plan.pipeline, accepted.envelope.kind.value).inc()
        self._on_the_way[q] = self._on_the_way.get(q, 0) + 1
        offset = message.offset() or 0
        envelope, span = accepted.envelope, None
        if self._tracing is not None:
            attributes = {"descant.pipeline": self._services.plan.pipeline, "descant.request": envelope.id}
            span = self._tracing.root(f"{self._services.plan.pipeline}.ingress", envelope.traceparent, attributes)
            envelope = envelope._replace(traceparent=traceparent_of(span))

        def delivered(error: KafkaError | None, record: Message | None) -> None:
            if error is not None or record is None:
                self._services.fatal(BrokerError(f"an accepted request could not be written: {error}"))
                return
            self._on_the_way[q] -= 1
            self._ends[q] = max(self._ends.get(q, 0), (record.offset() or 0) + 1)
            slot.accepted(offset)
            if span is not None:
                span.set_attribute("descant.serial", f"{q}:{record.offset() or 0}")
                span.end()

        self._services.producer.send(
            self._services.plan.topic(REQUEST),
            envelope.id,
            accepted.value,
            envelope.headers(),
            delivered,
            partition=partition_of(accepted.envelope.id.encode(), self._services.settings.partitions),
        )

    async def close(self) -> None:
        await self.owner.close()
        await self._tasks.close()


class IngressSlot:
    """One partition of `requests`: commits what is below the first record whose accepted record is not acknowledged."""

    def __init__(self, role: IngressRole, metadata: SlotMetadata, position: int) -> None:
        self._role: Final = role
        self._metadata: Final = metadata
        self._position = position
        self._unacknowledged: Final[OrderedDict[int, None]] = OrderedDict()
        self.is_dropped = False

    def record(self, source: int, message: Message) -> None:
        del source
        offset = message.offset() or 0
        self._unacknowledged[offset] = None
        self._position = offset + 1
        self._role.take(self, message)

    def accepted(self, offset: int) -> None:
        self._unacknowledged.pop(offset, None)

    def caught_up(self) -> None:
        """A request is accepted whenever it comes; a repetition is another serial of the same id."""

    def committable(self) -> tuple[dict[int, int], SlotMetadata]:
        return {0: next(iter(self._unacknowledged), self._position)}, SlotMetadata(self._metadata.epoch)

    def drop(self) -> None:
        self.is_dropped = True


def _pause(consumer: Consumer) -> None:
    consumer.pause(consumer.assignment())


def _resume(consumer: Consumer) -> None:
    consumer.resume(consumer.assignment())


def _key(message: Message) -> bytes:
    key = message.key()
    if not key:
        return f"{message.partition()}-{message.offset()}".encode()
    return key if isinstance(key, bytes) else key.encode()


def _validator(request_type: Any) -> Any:
    adapter = TypeAdapter[Any](request_type)

    def validate(value: bytes) -> bytes:
        try:
            return adapter.dump_json(adapter.validate_json(value))
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False, include_context=False)[:5]
            where = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'value'}: {p['msg']}" for p in problems)
            raise ValueError(f"the request does not fit its type: {where}") from None

    return validate
