"""What a pipeline could not use: read it, and send requests among it again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.errors import BrokerError, ConfigError
from streams.runtime.consumer import BATCH_RECORDS, READER_CONFIG, headers_of
from streams.runtime.producer import PRODUCER_CONFIG
from streams.runtime.topics import dead_letters_topic, requests_topic
from streams.settings import KafkaSettings

OF_ITS_TIME: Final = ("deadline",)
"""Headers that a request is not sent again with: a moment that is past would end it at once."""

SECONDS_MAX: Final = 20.0
"""Of silence from Kafka before a call is given up."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used, as it came, and why."""

    partition: int
    offset: int
    """Its place on `<pipeline>.dead-letters`."""
    at_ms: int
    reason: str
    """A stable code, e.g. `request.invalid`."""
    message: str
    stage: str
    topic: str
    """Where it was read; `original_partition` and `original_offset` are its place there."""
    original_partition: int
    original_offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def place(self) -> str:
        """How people name it: `PARTITION-OFFSET`."""
        return f"{self.partition}-{self.offset}"

    @property
    def request_id(self) -> str:
        """The id under which ingress answered it with an error."""
        fallback = f"{self.original_partition}-{self.original_offset}"
        return self.key.decode(errors="replace") if self.key else fallback

    @property
    def replay_id(self) -> str:
        """Of the request that a replay makes. The old id has its answer already, and an id has only one; this one is
        the same however often the letter is replayed, so that it is answered once."""
        return f"replay-{self.place}"


class DeadLetters:
    def __init__(self, pipeline: str, kafka: KafkaSettings) -> None:
        """`pipeline`: its name, not its module."""
        self._pipeline: Final = pipeline
        self._kafka: Final = kafka
        self._topic: Final = dead_letters_topic(pipeline)

    def all(self, since: datetime | None = None) -> Iterator[DeadLetter]:
        """Up to the end as it is now. Raises BrokerError when Kafka is away or the pipeline has no such topic."""
        consumer = self._consumer()
        try:
            yield from self._read(consumer, self._ranges(consumer, since))
        finally:
            consumer.close()

    def one(self, place: str) -> DeadLetter:
        """The letter at `PARTITION-OFFSET`. Raises ConfigError when there is none."""
        partition, dash, offset = place.partition("-")
        if not (dash and partition.isdecimal() and offset.isdecimal()):
            raise ConfigError(f"{place!r} is no PARTITION-OFFSET, as `list` prints them.", code="dead_letters.place")
        number, at = int(partition), int(offset)
        consumer = self._consumer()
        try:
            low, high = self._ranges(consumer, None).get(number, (0, 0))
            if low <= at < high:
                for letter in self._read(consumer, {number: (at, at + 1)}):
                    return letter
        finally:
            consumer.close()
        raise ConfigError(f"{self._topic} has no record at {place}; it may have expired.", code="dead_letters.place")

    def is_request(self, letter: DeadLetter) -> bool:
        """Only what clients sent can be sent again."""
        return letter.topic == requests_topic(self._pipeline)

    def replay(self, letter: DeadLetter, value: bytes | None = None) -> str:
        """Send it again as a new request, with another value if one is given; returns the new request's id.

        Raises ConfigError for a record from inside the pipeline: its request has been answered with an error, and
        its parents may be gone. Raises BrokerError when Kafka does not take it.
        """
        target = requests_topic(self._pipeline)
        if not self.is_request(letter):
            raise ConfigError(
                f"{letter.place} comes from {letter.topic}, inside the pipeline; only what clients sent to {target} "
                "can be sent again. Ask the request anew.",
                code="dead_letters.internal",
            )
        errors: list[KafkaError] = []
        producer = Producer({**self._kafka.client(), **PRODUCER_CONFIG, "message.timeout.ms": int(SECONDS_MAX * 1000)})
        producer.produce(
            target,
            letter.value if value is None else value,
            letter.replay_id,
            headers=[(name, value) for name, value in letter.headers if name not in OF_ITS_TIME],
            on_delivery=lambda error, _: errors.append(error) if error is not None else None,
        )
        if producer.flush(SECONDS_MAX) or errors:
            said = f": {errors[0].str()}" if errors else ""
            raise BrokerError(
                f"Kafka at {self._kafka.bootstrap} did not take the request within {SECONDS_MAX} s{said}."
            )
        return letter.replay_id

    # -- reading ---------------------------------------------------------------------------------------------------

    def _consumer(self) -> Consumer:
        own = {"group.id": "descant-dead-letters", "enable.partition.eof": True}
        return Consumer({**self._kafka.client(), **READER_CONFIG, **own})

    def _ranges(self, consumer: Consumer, since: datetime | None) -> dict[int, tuple[int, int]]:
        """Partition -> first and behind the last offset, of partitions that hold something."""
        try:
            known = consumer.list_topics(self._topic, timeout=SECONDS_MAX).topics[self._topic]
            if known.error is not None:
                raise BrokerError(
                    f"there is no topic {self._topic!r} at {self._kafka.bootstrap}. Give the pipeline's name, and "
                    "start it once: descant run MODULE:PIPELINE.",
                    code="broker.topic",
                )
            found = {}
            for number in sorted(known.partitions):
                at = TopicPartition(self._topic, number)
                low, high = consumer.get_watermark_offsets(at, timeout=SECONDS_MAX, cached=False)
                if since is not None:
                    at.offset = int(since.timestamp() * 1000)
                    later = consumer.offsets_for_times([at], timeout=SECONDS_MAX)[0].offset
                    low = high if later < 0 else max(low, later)
                if low < high:
                    found[number] = (low, high)
            return found
        except KafkaException as error:
            raise BrokerError(f"Kafka at {self._kafka.bootstrap} does not answer: {error.args[0].str()}.") from None

    def _read(self, consumer: Consumer, ranges: dict[int, tuple[int, int]]) -> Iterator[DeadLetter]:
        consumer.assign([TopicPartition(self._topic, number, low) for number, (low, _) in ranges.items()])
        open_ends = {number: high for number, (_, high) in ranges.items()}
        give_up_at = time.monotonic() + SECONDS_MAX
        while open_ends:
            for message in consumer.consume(BATCH_RECORDS, 0.1):
                number, offset, error = message.partition() or 0, message.offset() or 0, message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    continue  # it goes on by itself, or the time limit tells
                give_up_at = time.monotonic() + SECONDS_MAX
                if error is None and offset < open_ends.get(number, 0):
                    yield _letter(message)
                if number in open_ends and offset + (error is None) >= open_ends[number]:
                    del open_ends[number]
            if time.monotonic() > give_up_at:
                raise BrokerError(f"{self._topic} gave nothing for {SECONDS_MAX:.0f} s; is Kafka up?")


def _letter(message: Message) -> DeadLetter:
    said: dict[str, str] = {}
    original = []
    for name, value in headers_of(message):
        if name.startswith("original."):
            original.append((name.removeprefix("original."), value or b""))
        else:
            said[name] = (value or b"").decode(errors="replace")
    key, value = message.key(), message.value()
    return DeadLetter(
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        at_ms=message.timestamp()[1],
        reason=said.get("reason", "unknown"),
        message=said.get("message", ""),
        stage=said.get("stage", ""),
        topic=said.get("topic", ""),
        original_partition=_count(said.get("partition")),
        original_offset=_count(said.get("offset")),
        key=key.encode() if isinstance(key, str) else key,
        value=value.encode() if isinstance(value, str) else value,
        headers=tuple(original),
    )


def _count(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
