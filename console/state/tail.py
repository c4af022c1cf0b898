"""Reads shared topics (flags, worker states, observations) to their end and on, on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Final, Literal

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams.errors import LostContactError
from streams.runtime.contact import WATCHED, give_up
from streams.runtime.offsets import OffsetLookup, Place
from streams.settings import KafkaSettings

POLL_SECONDS: Final = 0.2
CALL_SECONDS: Final = 5.0
BATCH_RECORDS: Final = 500
LOOK_SECONDS: Final = 3.0
"""Between two looks for topics that were not there, or for new partitions."""

OnRecords = Callable[[list[tuple[str, bytes]]], None]
"""Given (topic, value) of each record that has a value, on the event loop."""

log = structlog.get_logger(__name__)


class Tail:
    """No group and no commits: every console sees every record. A topic that does not exist yet is waited for."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Sequence[str],
        on_records: OnRecords,
        *,
        since: Literal["beginning", "end"],
        last: int | None = None,
        on_layout: Callable[[dict[str, int]], None] | None = None,
    ) -> None:
        """`last`: of those there already, read only so many of each partition. `on_layout` is given the partition
        count of every topic, each time that it looks."""
        self._kafka: Final = kafka
        self._topics: Final = tuple(topics)
        self._on_records: Final = on_records
        self._since: Final = since
        self._last: Final = last
        self._on_layout: Final = on_layout
        self._lookup: Final = OffsetLookup(kafka, stable=True)
        self._read_to: Final[dict[Place, int]] = {}
        self._loop: Final = asyncio.get_running_loop()
        self._stopped: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name=f"tail {topics[0]}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def close(self) -> None:
        self._stopped.set()
        self._lookup.close()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 5)

    def _run(self) -> None:
        while not self._stopped.is_set():
            consumer = self._consumer()
            try:
                self._follow(consumer)
            except LostContactError as error:
                log.warning("reading goes on with a new client", topics=self._topics, reason=str(error))
                give_up(consumer)
            else:
                consumer.close()

    def _consumer(self) -> Consumer:
        consumer = Consumer(
            {
                **self._kafka.client(),
                **WATCHED,
                "group.id": "descant-console",  # never joined
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",  # retention may pass us while the broker is away
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "queued.max.messages.kbytes": 16_384,
            }
        )
        consumer.assign([TopicPartition(*place, offset) for place, offset in self._read_to.items()])
        return consumer

    def _follow(self, consumer: Consumer) -> None:
        waited = LOOK_SECONDS
        while not self._stopped.is_set():
            if waited >= LOOK_SECONDS:
                waited = 0.0
                self._look(consumer)
            first = consumer.poll(POLL_SECONDS)
            waited += POLL_SECONDS
            if first is not None:
                self._give([first, *consumer.consume(BATCH_RECORDS, 0)])

    def _look(self, consumer: Consumer) -> None:
        try:
            found = consumer.list_topics(timeout=CALL_SECONDS).topics
            if self._on_layout is not None and not self._loop.is_closed():
                counts = {topic: len(about.partitions) for topic, about in found.items()}
                self._loop.call_soon_threadsafe(self._on_layout, counts)
            new = [
                TopicPartition(topic, partition)
                for topic in self._topics
                if topic in found
                for partition in found[topic].partitions
                if (topic, partition) not in self._read_to
            ]
            ranges = self._lookup.ranges((place.topic, place.partition) for place in new)
            for place in new:
                low, high = ranges[place.topic, place.partition]
                start = high if self._since == "end" else low
                place.offset = start if self._last is None else max(start, high - self._last)
            if new:
                consumer.incremental_assign(new)
                self._read_to.update({(place.topic, place.partition): place.offset for place in new})
        except KafkaException as error:
            log.info("cannot look for topics", topics=self._topics, reason=error.args[0].str())

    def _give(self, messages: list[Message]) -> None:
        records = []
        for message in messages:
            if message.error() is None:
                topic, value = message.topic() or "", message.value()
                self._read_to[topic, message.partition() or 0] = (message.offset() or 0) + 1
                if value is not None:
                    records.append((topic, value))
        if records and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_records, records)
