"""One pipeline's open requests, followed on `accepted` and `control`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from console.top.requests import OpenRequests
from streams.core.lineage import Serial
from streams.core.record import Envelope, parse_envelope
from streams.errors import RecordError
from streams.runtime.consumer import BATCH_RECORDS, POLL_SECONDS, READER_CONFIG, headers_of, is_at_end
from streams.runtime.follow import ControlFollower
from streams.runtime.offsets import OffsetLookup
from streams.settings import KafkaSettings


class PipelineWatch:
    """`start`, then read `requests`; no group is joined and nothing is committed."""

    def __init__(
        self,
        pipeline: str,
        partitions: int,
        kafka: KafkaSettings,
        lookup: OffsetLookup,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._topic: Final = f"{pipeline}.accepted"
        self._partitions: Final = partitions
        self._kafka: Final = kafka
        self._lookup: Final = lookup
        self._on_fatal: Final = on_fatal
        self._loop: Final = asyncio.get_running_loop()
        self._follower: Final = ControlFollower(kafka, lookup, pipeline, on_fatal)
        self.requests: Final = OpenRequests(self._follower.state)
        self._follower.listen(self.requests.closed)
        self.ready: Final = asyncio.Event()
        """What was open at the start is known."""
        self._is_open = True
        self._thread: threading.Thread | None = None
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._follower.start()
        self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        await self._follower.ready.wait()
        self.requests.answered = 0  # those were before our time
        starts = [
            TopicPartition(self._topic, number, self._follower.state.of(number).low)
            for number in range(self._partitions)
        ]
        self._thread = threading.Thread(target=self._run, args=(starts,), name=f"top {self._topic}", daemon=True)
        self._thread.start()

    def _run(self, starts: list[TopicPartition]) -> None:
        # Below its lowest open request a log may have expired: what is left of it is then where reading begins.
        config = READER_CONFIG | {"auto.offset.reset": "earliest", "enable.partition.eof": True}
        consumer = Consumer({**self._kafka.client(), **config, "group.id": "descant-top"})
        try:
            consumer.assign(starts)
            ends = {place.partition: self._lookup.end((self._topic, place.partition)) for place in starts}
            behind = set(ends)
            while self._is_open:
                first = consumer.poll(POLL_SECONDS)
                if first is None:
                    continue
                batch = [first, *consumer.consume(BATCH_RECORDS, 0)]
                behind -= {m.partition() for m in batch if is_at_end(m, ends)}
                self._call_soon(self._take, batch, not behind)
        except BaseException as error:  # noqa: BLE001 — a thread's error reaches nobody by itself
            self._call_soon(self._on_fatal, error)
        finally:
            consumer.close()

    def _take(self, batch: list[Message], has_caught_up: bool) -> None:
        for message in batch:
            if message.error() is None and (envelope := _envelope(message)) is not None:
                serial = Serial(message.partition() or 0, message.offset() or 0)
                self.requests.accepted(serial, envelope, message.timestamp()[1] / 1000)
        if has_caught_up:
            self.ready.set()

    def _call_soon(self, function: Callable[..., object], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    async def close(self) -> None:
        self._is_open = False
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 5)
        await self._follower.close()


def _envelope(message: Message) -> Envelope | None:
    try:
        return parse_envelope(headers_of(message))
    except RecordError:
        return None
