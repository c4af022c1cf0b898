"""Reads a pipeline's topics for the requests of one client, from the moment it connects."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import TopicMetadata  # type: ignore[attr-defined]  # re-exported without saying so

from streams.core.record import Envelope, parse_envelope
from streams.errors import BrokerError, RecordError
from streams.runtime.consumer import (
    BATCH_RECORDS,
    POLL_SECONDS,
    READER_CONFIG,
    RETRIABLE,
    headers_of,
    retrying,
)
from streams.runtime.contact import WATCHED
from streams.runtime.denial import REFUSED, denied, refused
from streams.runtime.offsets import OffsetLookup, Place
from streams.runtime.tasks import finish
from streams.settings import KafkaSettings

MISSING: Final = KafkaError.UNKNOWN_TOPIC_OR_PART

TRY_SECONDS: Final = 2.0
"""Of one question for a topic; between two it is looked whether the brokers refuse who asks."""

PATIENCE_SECONDS: Final = 5.0
"""So long refusals are borne at the start: brokers learn of a user who has just been made a moment later."""

REFUSED_SECONDS: Final = 30.0
"""Credentials that have worked are refused when they are again within this time (the client asks at least every 10 s):
once only is also what a broker that ends in the midst of it looks like."""

CAUGHT_UP_SECONDS: Final = 2.0

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
        # No group: every client sees every record, and nothing is committed; librdkafka wants a name all the same.
        own = {"group.id": "descant-client", "error_cb": self._note}
        self._consumer: Final = Consumer({**kafka.client(), **READER_CONFIG, **WATCHED, **own})
        self._kafka: Final = kafka
        self._topics: Final = list(topics)
        self._wants: Final = wants
        self._on_record: Final = on_record
        self._on_fatal: Final = on_fatal
        self._lookup: Final = OffsetLookup(kafka)
        self._positions: Final[dict[Place, int]] = {}
        self._ends: dict[Place, int] = {}
        self._asked_at = 0.0
        self._asking: Final = asyncio.Lock()
        self._waiting: Final[list[tuple[dict[Place, int], asyncio.Future[None]]]] = []
        """Added to on the loop, taken from on the thread."""
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
            places = await asyncio.to_thread(self._places)
            self._positions.update(await self._lookup.ends(places))
            self._consumer.assign([TopicPartition(*place, offset) for place, offset in self._positions.items()])
        except BaseException:
            self._consumer.close()
            raise
        self._refused, self._refused_at = None, -REFUSED_SECONDS
        self._has_started = True
        self._thread.start()

    async def caught_up(self, topics: Collection[str]) -> None:
        """Return when all that is on these topics now has been given; topics are read side by side, so that what was
        written later may be given earlier. Returns after 2 s in any case: a broker may be away."""
        since = time.monotonic()
        with contextlib.suppress(TimeoutError, KafkaException):
            async with asyncio.timeout(CAUGHT_UP_SECONDS):
                async with self._asking:  # whoever came before the last look-up was begun shares it
                    if self._asked_at < since:
                        self._asked_at = time.monotonic()
                        self._ends = await self._lookup.ends(self._positions)
                reached: asyncio.Future[None] = self._loop.create_future()
                self._waiting.append(({at: end for at, end in self._ends.items() if at[0] in topics}, reached))
                await reached

    def _tell_caught_up(self) -> None:
        for waiting in list(self._waiting):
            ends, reached = waiting
            if reached.done() or all(self._positions[at] >= end for at, end in ends.items()):
                self._waiting.remove(waiting)
                # Behind what was given so far, on the loop.
                self._call_soon(finish, reached, None)

    def _places(self) -> list[Place]:
        known = [self._ask_for(topic) for topic in self._topics]
        return [(topic, p) for topic, about in zip(self._topics, known, strict=True) for p in about.partitions]

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
        if first is not None:
            messages = (first, *self._consumer.consume(BATCH_RECORDS, 0))
            if batch := [found for message in messages if (found := self._mine(message)) is not None]:
                self._call_soon(self._give, batch)
        if self._waiting:
            self._tell_caught_up()

    def _mine(self, message: Message) -> tuple[str, Envelope, bytes | None] | None:
        if (error := message.error()) is not None:
            # What it may not do with its group, which it never joins, is nothing to it; all else passes by itself.
            if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise denied(self._kafka, [f"Read on topic {message.topic()}"])
            return None
        self._positions[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
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
        self._lookup.close()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 5)
