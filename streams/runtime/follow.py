"""Every process follows `<pipeline>.control` and frees what belongs to closed requests (PROTOCOL §9.6)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.core.control import Control, decode_control
from streams.core.lineage import Serial
from streams.errors import RecordError
from streams.runtime.consumer import BATCH_RECORDS, CALL_SECONDS, POLL_SECONDS, READER_CONFIG, is_at_end, retrying
from streams.runtime.contact import WATCHED
from streams.runtime.offsets import OffsetLookup
from streams.runtime.topics import control_topic
from streams.settings import KafkaSettings

log = structlog.get_logger(__name__)

LOOK_BACK: Final = 64
"""Offsets before the end in which the last entry is looked for: a transaction's marker takes an offset too."""

LOOK_BACK_GROWTH: Final = 16
"""When there is none, so many times further back: one open transaction can hold hundreds of entries."""

HELD_UP_SECONDS: Final = 30.0
"""Until it is told, each time: a broker ends a transaction whose writer is gone after some seconds."""

OnClosed = Callable[[Serial], None]


class ControlFollower:
    """One pipeline's closed requests; `ready` when everything written before the start has been read."""

    def __init__(
        self, kafka: KafkaSettings, lookup: OffsetLookup, pipeline: str, on_fatal: Callable[[BaseException], None]
    ) -> None:
        self.state: Final = Control()
        self.ready: Final = asyncio.Event()
        self._topic: Final = control_topic(pipeline)
        self._lookup: Final = lookup
        config = READER_CONFIG | {"auto.offset.reset": "earliest", "enable.partition.eof": True}
        self._consumer: Final = Consumer({**kafka.client(), **config, **WATCHED, "group.id": f"{pipeline}.follower"})
        self._loop: Final = asyncio.get_running_loop()
        self._listeners: Final[list[OnClosed]] = []
        self._on_fatal: Final = on_fatal
        self._read_to: Final[dict[int, int]] = {}
        self._ends: Final[dict[int, int]] = {}
        """Of each partition, where it ended at the start."""
        self._waiting: Final[list[tuple[int, int, asyncio.Future[None]]]] = []
        self._is_open = True
        self._thread: Final = threading.Thread(target=self._run, name=f"control {pipeline}", daemon=True)

    def listen(self, on_closed: OnClosed) -> None:
        self._listeners.append(on_closed)

    def start(self) -> None:
        self._thread.start()

    async def read_up_to_now(self, partition: int) -> None:
        """Return when all entries that are on the partition now have been read, those in open transactions included."""
        await self.ready.wait()
        high = (await self._lookup.ends([(self._topic, partition)]))[self._topic, partition]
        if self._read_to.get(partition, 0) < high:
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append((partition, high, future))
            while not (await asyncio.wait([future], timeout=HELD_UP_SECONDS))[0]:
                log.warning("waiting for the end of control: a broker is away, or nobody ends a transaction",
                            topic=self._topic, partition=partition, hint="descant doctor MODULE:PIPELINE")  # fmt: skip
            future.result()

    def _run(self) -> None:
        try:
            start = self._beginnings()
            self._consumer.assign(start)
            behind = set(self._ends)
            while self._is_open:
                first = self._consumer.poll(POLL_SECONDS)
                if first is None:
                    continue
                batch = [first, *self._consumer.consume(BATCH_RECORDS, 0)]
                self._call_soon(self._take, batch)
                if behind:
                    behind -= {m.partition() for m in batch if is_at_end(m, self._ends)}
                    if not behind:
                        self._call_soon(self.ready.set)
            self._consumer.close()
        except BaseException as error:  # noqa: BLE001 — a thread's error reaches nobody by itself
            self._call_soon(self._on_fatal, error)

    def _beginnings(self) -> list[TopicPartition]:
        """Where to read from: the `since` of each partition's last entry, or its first record."""
        found = []
        for number in retrying(self._partitions):
            low, high = self._lookup.beginning((self._topic, number)), self._lookup.end((self._topic, number))
            self._ends[number] = high
            back, start, since = LOOK_BACK, high, None
            while since is None and start > low and self._is_open:
                start, back = max(low, high - back), back * LOOK_BACK_GROWTH
                since = self._last_since(number, start)
            found.append(TopicPartition(self._topic, number, start if since is None else since))
        return found

    def _last_since(self, number: int, start: int) -> int | None:
        """What the last entry at `start` or above says; None when there is none: only markers, or a transaction that
        is still open and hides everything behind its beginning."""
        self._consumer.assign([TopicPartition(self._topic, number, start)])
        since: int | None = None
        while self._is_open:
            message = self._consumer.poll(POLL_SECONDS)
            if message is None:
                continue
            if message.error() is None:
                with contextlib.suppress(RecordError):  # only a closer may write here
                    since = decode_control(message.value()).since
            if is_at_end(message, self._ends):
                break
        return since

    def _partitions(self) -> list[int]:
        known = self._consumer.list_topics(self._topic, timeout=CALL_SECONDS).topics[self._topic]
        if known.error is not None:  # it was created a moment ago, and not every broker knows it yet
            raise KafkaException(known.error)
        return sorted(known.partitions)

    def _take(self, batch: Sequence[Message]) -> None:
        for message in batch:
            partition, offset = message.partition() or 0, message.offset() or 0
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    self._reached(partition, offset)
                continue
            try:
                entry = decode_control(message.value())
            except RecordError:
                continue  # only a closer may write here; a stray record closes nothing
            self.state.of(partition).on(offset, entry)
            serial = Serial(partition, entry.offset)
            for on_closed in self._listeners:
                on_closed(serial)
            self._reached(partition, offset + 1)

    def _reached(self, partition: int, offset: int) -> None:
        self._read_to[partition] = max(offset, self._read_to.get(partition, 0))
        if self._waiting:
            for waiting in [w for w in self._waiting if w[0] == partition and w[1] <= offset]:
                self._waiting.remove(waiting)
                if not waiting[2].done():
                    waiting[2].set_result(None)

    def _call_soon(self, function: Callable[..., object], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    async def close(self) -> None:
        self._is_open = False
        await asyncio.to_thread(self._thread.join, 5)
