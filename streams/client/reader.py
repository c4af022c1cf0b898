"""Reads a pipeline's topics for the requests of one client, from the moment it connects."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import TopicMetadata  # type: ignore[attr-defined]  # re-exported without saying so

from streams.core.record import Envelope, parse_envelope
from streams.errors import BrokerError, RecordError
from streams.runtime.consumer import (
    BATCH_RECORDS,
    CONSUMER_CONFIG,
    POLL_SECONDS,
    RETRIABLE,
    headers_of,
    retrying,
)
from streams.runtime.denial import REFUSED, denied, refused
from streams.runtime.offsets import OffsetLookup
from streams.settings import KafkaSettings

MISSING: Final = KafkaError.UNKNOWN_TOPIC_OR_PART

TRY_SECONDS: Final = 2.0
"""Of one question for a topic; between two it is looked whether the brokers refuse who asks."""

PATIENCE_SECONDS: Final = 5.0
"""So long refusals are borne at the start: brokers learn of a user who has just been made a moment later."""

REFUSED_SECONDS: Final = 30.0
"""Credentials that have worked are refused when they are again within this time (the client asks at least every 10 s):
once only is also what a broker that ends in the midst of it looks like."""

OnRecord = Callable[[str, Envelope, bytes | None], None]


class Reader:
    """Gives records of requests that `wants` names to `on_record`, on the loop; and to `on_fatal`, once, why no more
    will come."""

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Sequence[str],
        wants: Callable[[str], bool],
        on_record: OnRecord,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        config = {k: v for k, v in CONSUMER_CONFIG.items() if not k.startswith("group.")}
        # No group: every client sees every record, and nothing is committed; librdkafka wants a name all the same.
        own = {"group.id": "descant-client", "error_cb": self._note}
        self._consumer: Final = Consumer({**kafka.client(), **config, **own})
        self._kafka: Final = kafka
        self._topics: Final = list(topics)
        self._wants: Final = wants
        self._on_record: Final = on_record
        self._on_fatal: Final = on_fatal
        self._refused: KafkaError | None = None
        self._refused_at = -REFUSED_SECONDS
        self._loop: Final = asyncio.get_running_loop()
        self._is_open = True
        self._has_started = False
        self._thread = threading.Thread(target=self._run, name="client reader", daemon=True)

    async def start(self) -> None:
        """Return when nothing produced from now on can be missed.

        Raises BrokerError when a topic is missing or may not be read, or the brokers do not accept who asks.
        """
        try:
            self._consumer.assign(await asyncio.to_thread(self._ends))
        except BaseException:
            self._consumer.close()
            raise
        self._refused, self._refused_at = None, -REFUSED_SECONDS
        self._has_started = True
        self._thread.start()

    def _ends(self) -> list[TopicPartition]:
        found = []
        lookup = OffsetLookup(self._kafka)
        known = [self._ask_for(topic) for topic in self._topics]
        for topic, about in zip(self._topics, known, strict=True):
            for partition in about.partitions:
                found.append(TopicPartition(topic, partition, lookup.end((topic, partition))))
        return found

    def _ask_for(self, topic: str) -> TopicMetadata:
        def ask() -> TopicMetadata:
            about: TopicMetadata = self._consumer.list_topics(topic, timeout=TRY_SECONDS).topics[topic]
            if about.error is not None and about.error.code() in RETRIABLE and about.error.code() != MISSING:
                raise KafkaException(about.error)
            return about

        try:
            about = retrying(ask, still=self._is_accepted)
        except KafkaException:
            if self._refused is None:
                raise
            raise refused(self._kafka, self._refused) from None
        if about.error is None:
            return about
        if about.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise denied(self._kafka, [f"Read on topic {topic}"])
        raise BrokerError(
            f"there is no topic {topic!r}. Start the pipeline first: descant run MODULE:PIPELINE.", code="broker.topic"
        )

    def _is_accepted(self) -> bool:
        self._consumer.poll(0)  # `_note` is called by polls only
        return self._refused is None or time.monotonic() - self._refused_at < PATIENCE_SECONDS

    def _note(self, error: KafkaError) -> None:
        now = time.monotonic()
        if not self._has_started and error.code() in REFUSED:
            self._refused_at = now if self._refused is None else self._refused_at
            self._refused = error
        elif self._has_started and error.code() == KafkaError._AUTHENTICATION:
            if now - self._refused_at < REFUSED_SECONDS:
                self._refused = error
            self._refused_at = now

    def _run(self) -> None:
        try:
            while self._is_open:
                self._poll()
        except BaseException as error:  # noqa: BLE001 — a thread's error reaches nobody by itself
            self._call_soon(self._on_fatal, error)
        finally:
            self._consumer.close()

    def _poll(self) -> None:
        first = self._consumer.poll(POLL_SECONDS)
        if self._refused is not None:
            raise refused(self._kafka, self._refused)
        if first is None:
            return
        batch = [
            found
            for message in (first, *self._consumer.consume(BATCH_RECORDS, 0))
            if (found := self._mine(message)) is not None
        ]
        if batch:
            self._call_soon(self._give, batch)

    def _mine(self, message: Message) -> tuple[str, Envelope, bytes | None] | None:
        if (error := message.error()) is not None:
            # What it may not do with its group, which it never joins, is nothing to it; all else passes by itself.
            if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise denied(self._kafka, [f"Read on topic {message.topic()}"])
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

    def _call_soon(self, function: Callable[..., object], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    async def close(self) -> None:
        self._is_open = False
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 5)
