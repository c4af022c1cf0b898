"""The producer of a process: idempotent, in order, with every delivery reported on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from confluent_kafka import KafkaError, Message, Producer

from streams import metrics
from streams.core.record import Headers
from streams.errors import BrokerError
from streams.settings import KafkaSettings

OnDelivery: TypeAlias = Callable[[KafkaError | None, Message | None], None]

RECORD_BYTES_MAX: Final = 1_000_000
"""Kafka's default for a record batch, less room for key and headers; a larger value fails its run, not its process."""

POLL_SECONDS: Final = 0.1
FLUSH_SECONDS: Final = 5.0

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


class LoopProducer:
    """`send` from the loop's thread; delivery callbacks run on it too, in batches."""

    def __init__(self, kafka: KafkaSettings, on_fatal: Callable[[BaseException], None]) -> None:
        queue = {"queue.buffering.max.messages": kafka.producer_records}
        self._producer: Final = Producer({**kafka.client(), **PRODUCER_CONFIG, **queue})
        self._loop: Final = asyncio.get_running_loop()
        self._on_fatal: Final = on_fatal
        self._reports: Final[deque[tuple[OnDelivery, KafkaError | None, Message]]] = deque()
        self._reports_lock: Final = threading.Lock()
        self._is_delivery_due = False
        self._is_open = True
        metrics.PRODUCER_QUEUE.set_function(self._producer.__len__)
        self._thread: Final = threading.Thread(target=self._poll, name="producer", daemon=True)
        self._thread.start()

    def send(
        self,
        topic: str,
        key: str | bytes | None,
        value: bytes | None,
        headers: Headers,
        on_delivery: OnDelivery | None = None,
        partition: int = -1,
    ) -> None:
        report = self._reporter(on_delivery)
        while True:
            try:
                if partition >= 0:
                    self._producer.produce(topic, value, key, partition=partition, on_delivery=report, headers=headers)
                else:
                    self._producer.produce(topic, value, key, on_delivery=report, headers=headers)
            except BufferError:
                # Full: the broker is away or slow. Nobody upstream may be paused, so this process waits here.
                self._producer.poll(POLL_SECONDS)
            else:
                return

    def _reporter(self, on_delivery: OnDelivery | None) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, message: Message) -> None:
            if on_delivery is not None:
                # The loop's thread reports too, while it waits for room: two at once must not leave it to each other to
                # ask for the delivery.
                with self._reports_lock:
                    self._reports.append((on_delivery, error, message))
                    is_first, self._is_delivery_due = not self._is_delivery_due, True
                if is_first:
                    self._call_soon(self._deliver)
            elif error is not None:
                self._call_soon(self._on_fatal, BrokerError(f"a record for {message.topic()} was refused: {error}"))

        return report

    def _call_soon(self, function: Callable[..., None], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _deliver(self) -> None:
        with self._reports_lock:
            self._is_delivery_due = False  # what is reported from here on asks again
        while self._reports:
            on_delivery, error, message = self._reports.popleft()
            try:
                on_delivery(error, message)
            except Exception as failure:  # noqa: BLE001 — nobody else would see it
                self._on_fatal(failure)

    def _poll(self) -> None:
        while self._is_open:
            self._producer.poll(POLL_SECONDS)

    async def flush(self, seconds: float = FLUSH_SECONDS) -> int:
        """Wait until everything sent is acknowledged; returns how much is not."""
        return await asyncio.to_thread(self._producer.flush, seconds)

    async def close(self) -> None:
        await self.flush()
        self._is_open = False
        await asyncio.to_thread(self._thread.join, 5)
        await asyncio.to_thread(self._producer.close)
