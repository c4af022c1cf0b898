"""The producer of a process: idempotent, in order, with every delivery reported on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams import metrics
from streams.core.record import Headers
from streams.errors import BrokerError
from streams.runtime.contact import LOOK_SECONDS as CONTACT_SECONDS
from streams.runtime.contact import WATCHED
from streams.settings import KafkaSettings

OnDelivery: TypeAlias = Callable[[KafkaError | None, Message | None], None]

RECORD_BYTES_MAX: Final = 1_000_000
"""Kafka's default for a record batch, less room for key and headers; a larger value fails its run, not its process."""

FULL_SECONDS: Final = 0.1
FLUSH_SECONDS: Final = 5.0

# The loop asks for delivery reports itself, while some are due. A thread that waits for them has to get hold of the
# interpreter for every single report, and a busy loop gives it up only every 5 ms (docs/decisions/speed.md).
LOOK_SECONDS: Final = 0.001
"""Between looks while reports come in. An acknowledgement takes about as long."""

IDLE_LOOK_SECONDS: Final = 0.064
"""The longest pause, reached by doubling while none comes: the broker is away, or slow."""

BURST_RECORDS: Final = 500
"""What one turn of the loop sends goes to librdkafka in bursts of up to so many: as many as a turn reads. Its thread
for the broker went round its loop 25 times a record with bursts of 100 and 15 times with 500, for 20 and 11 µs of CPU
(docs/decisions/speed.md). Cost: under load the first of a burst leaves some milliseconds later. A turn with one record
sends it at once."""

PRODUCER_CONFIG: Final = {
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": "murmur2_random",  # as Java clients, aiokafka and Faust place keys
    "linger.ms": 0,  # batches form by themselves while one is on its way; 1 ms would be added to every hop
    "message.timeout.ms": 0,  # a broker that is away is waited for: giving up would lose what a run has emitted
    "message.max.bytes": 17 * 1024 * 1024,  # dead letters hold what a client sent
    # 1 GiB by default: what a process may gather while the brokers are away, beside what it needs itself.
    "queue.buffering.max.kbytes": 128 * 1024,
}


class _Sending(NamedTuple):
    topic: str
    key: str | bytes | None
    value: bytes | None
    headers: Headers
    on_delivery: OnDelivery | None
    partition: int


class LoopProducer:
    """`send` from the loop's thread; delivery callbacks, refusals included, run on it too and never inside `send`."""

    def __init__(self, kafka: KafkaSettings, on_fatal: Callable[[BaseException], None]) -> None:
        queue = {"queue.buffering.max.messages": kafka.producer_records}
        self._producer: Final = Producer({**kafka.client(), **PRODUCER_CONFIG, **WATCHED, **queue})
        self._loop: Final = asyncio.get_running_loop()
        self._on_fatal: Final = on_fatal
        self._burst: list[_Sending] = []
        self._reports: Final[deque[tuple[OnDelivery | None, KafkaError | None, Message | None]]] = deque()
        self._due = 0
        """Records that no report has come for."""
        self._look_seconds = LOOK_SECONDS
        self._looking: asyncio.TimerHandle | None = None
        self._watching = self._loop.call_later(CONTACT_SECONDS, self._watch)
        metrics.PRODUCER_QUEUE.set_function(self._producer.__len__)

    def send(
        self,
        topic: str,
        key: str | bytes | None,
        value: bytes | None,
        headers: Headers,
        on_delivery: OnDelivery | None = None,
        partition: int = -1,
    ) -> None:
        self._burst.append(_Sending(topic, key, value, headers, on_delivery, partition))
        if len(self._burst) == 1:
            self._loop.call_soon(self._produce)
        elif len(self._burst) >= BURST_RECORDS:
            self._produce()

    def _produce(self) -> None:
        burst, self._burst = self._burst, []
        try:
            for sending in burst:
                self._produce_one(sending)
        except Exception as failure:  # noqa: BLE001 — nobody else would see it
            self._on_fatal(failure)
        if self._due and self._looking is None:
            self._look_seconds = LOOK_SECONDS
            self._looking = self._loop.call_later(LOOK_SECONDS, self._look)

    def _produce_one(self, sending: _Sending) -> None:
        topic, key, value, headers, on_delivery, partition = sending
        report = partial(self._report, on_delivery)
        self._due += 1
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=report, headers=headers)
            except BufferError:
                # Full: the broker is away or slow. Nobody upstream may be paused, so this process waits here.
                self._producer.poll(FULL_SECONDS)
            except KafkaException as refused:
                self._reports.append((on_delivery, refused.args[0], None))
                return
            else:
                return

    def _report(self, on_delivery: OnDelivery | None, error: KafkaError | None, message: Message | None) -> None:
        """Noted, and told when `poll` is over: whoever is told may send, and would overtake what `send` waits with."""
        self._reports.append((on_delivery, error, message))

    def _look(self) -> None:
        self._looking = None
        self._poll()
        self._look_seconds = LOOK_SECONDS if self._reports else min(2 * self._look_seconds, IDLE_LOOK_SECONDS)
        self._tell()
        if self._due and self._looking is None:
            self._looking = self._loop.call_later(self._look_seconds, self._look)

    def _watch(self) -> None:
        """Statistics wait for a poll, also while nothing is due."""
        self._poll()
        self._watching = self._loop.call_later(CONTACT_SECONDS, self._watch)

    def _poll(self) -> None:
        try:
            self._producer.poll(0)
        except Exception as failure:  # noqa: BLE001 — nobody else would see it
            self._on_fatal(failure)

    def _tell(self) -> None:
        while self._reports:
            on_delivery, error, message = self._reports.popleft()
            self._due -= 1
            try:
                if on_delivery is not None:
                    on_delivery(error, message)
                elif error is not None:
                    where = message.topic() if message is not None else "a topic"
                    raise BrokerError(f"a record for {where} was refused: {error}")
            except Exception as failure:  # noqa: BLE001 — nobody else would see it
                self._on_fatal(failure)

    async def flush(self, seconds: float = FLUSH_SECONDS) -> int:
        """Wait until everything sent is acknowledged and told; returns how much is not."""
        ends_at = time.monotonic() + seconds
        self._produce()
        while self._due and time.monotonic() < ends_at:
            await asyncio.sleep(LOOK_SECONDS)
            self._poll()
            self._tell()
        return self._due

    async def close(self) -> None:
        await self.flush()
        self._watching.cancel()
        if self._looking is not None:
            self._looking.cancel()
        await asyncio.to_thread(self._producer.close)
