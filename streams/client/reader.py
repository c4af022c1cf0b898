"""Reads a pipeline's topics for the requests of one client, from the moment it connects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from streams.core.record import Envelope, parse_envelope
from streams.errors import BrokerError, RecordError
from streams.runtime.consumer import BATCH_RECORDS, CALL_SECONDS, CONSUMER_CONFIG, POLL_SECONDS, headers_of, retrying
from streams.runtime.offsets import OffsetLookup
from streams.settings import KafkaSettings

OnRecord = Callable[[str, Envelope, bytes | None], None]


class Reader:
    """Gives records of requests that `wants` names to `on_record`, on the loop."""

    def __init__(
        self, kafka: KafkaSettings, topics: Sequence[str], wants: Callable[[str], bool], on_record: OnRecord
    ) -> None:
        config = {k: v for k, v in CONSUMER_CONFIG.items() if not k.startswith("group.")}
        # No group: every client sees every record, and nothing is committed; librdkafka wants a name all the same.
        self._consumer: Final = Consumer({**kafka.client(), **config, "group.id": "descant-client"})
        self._kafka: Final = kafka
        self._topics: Final = list(topics)
        self._wants: Final = wants
        self._on_record: Final = on_record
        self._loop: Final = asyncio.get_running_loop()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="client reader", daemon=True)

    async def start(self) -> None:
        """Return when nothing produced from now on can be missed. Raises BrokerError when a topic is missing."""
        self._consumer.assign(await asyncio.to_thread(self._ends))
        self._thread.start()

    def _ends(self) -> list[TopicPartition]:
        found = []
        lookup = OffsetLookup(self._kafka)
        known = retrying(lambda: self._consumer.list_topics(timeout=CALL_SECONDS)).topics
        for topic in self._topics:
            if topic not in known:
                raise BrokerError(
                    f"there is no topic {topic!r}. Start the pipeline first: descant run MODULE:PIPELINE.",
                    code="broker.topic",
                )
            for partition in known[topic].partitions:
                found.append(TopicPartition(topic, partition, lookup.end((topic, partition))))
        return found

    def _run(self) -> None:
        while self._is_open:
            first = self._consumer.poll(POLL_SECONDS)
            if first is None:
                continue
            batch = [
                found
                for message in (first, *self._consumer.consume(BATCH_RECORDS, 0))
                if (found := self._mine(message)) is not None
            ]
            if batch and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._give, batch)
        self._consumer.close()

    def _mine(self, message: Message) -> tuple[str, Envelope, bytes | None] | None:
        if message.error() is not None:
            return None
        try:
            envelope = parse_envelope(headers_of(message))
        except RecordError:
            return None
        if not self._wants(envelope.id):
            return None
        return message.topic() or "", envelope, message.value()

    def _give(self, batch: list[tuple[str, Envelope, bytes | None]]) -> None:
        for topic, envelope, value in batch:
            self._on_record(topic, envelope, value)

    async def close(self) -> None:
        self._is_open = False
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 5)
