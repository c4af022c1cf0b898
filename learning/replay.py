"""Recorded traffic: the newest records of a stage's topic, as a model's examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from pydantic import JsonValue

from learning.watermarks import watermarks
from streams.core.record import Kind
from streams.errors import BrokerError
from streams.runtime.consumer import is_at_end
from streams.runtime.offsets import OffsetLookup
from streams.settings import KafkaSettings

REPLAY_GROUP: Final = "learning.replay"
CALL_SECONDS: Final = 20.0
READ_SECONDS_MAX: Final = 60.0
WAIT_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Traffic:
    """What a gate replays: both versions answer it, and the recipe's assertions count what they would flag."""

    topic: str
    """Of a stage, as in "factcheck.verdict"."""
    example: Callable[[JsonValue], JsonValue | None]
    """The stage's output -> an example; None leaves it out."""
    most: int = 1_000
    """The newest so many records."""


def recent(kafka: KafkaSettings, traffic: Traffic) -> list[JsonValue]:
    """What there is, oldest first within a partition; nothing where there is no such topic. Raises BrokerError."""
    consumer = Consumer(
        {**kafka.client(), "group.id": REPLAY_GROUP, "enable.auto.commit": False, "enable.partition.eof": True}
    )
    try:
        return [
            example
            for value in _newest(consumer, OffsetLookup(kafka, seconds_max=CALL_SECONDS, stable=True), traffic)
            if (example := traffic.example(value)) is not None
        ]
    finally:
        consumer.close()


def _newest(consumer: Consumer, lookup: OffsetLookup, traffic: Traffic) -> Iterator[JsonValue]:
    known = consumer.list_topics(timeout=CALL_SECONDS).topics.get(traffic.topic)
    if known is None or not known.partitions:
        return
    share = max(1, traffic.most // len(known.partitions))
    places, ends = [], {}
    ranges = watermarks(lookup, [(traffic.topic, partition) for partition in known.partitions])
    for (_, partition), (low, high) in ranges.items():
        if high > low:
            places.append(TopicPartition(traffic.topic, partition, max(low, high - share)))
            ends[partition] = high
    consumer.assign(places)
    left = set(ends)
    waited = 0.0
    while left:
        messages = consumer.consume(500, WAIT_SECONDS)
        waited = 0.0 if messages else waited + WAIT_SECONDS
        if waited > READ_SECONDS_MAX:
            raise BrokerError(f"topic {traffic.topic!r} could not be read to its end.")
        for message in messages:
            if is_at_end(message, ends):
                left.discard(message.partition() or 0)
            if (error := message.error()) is None:
                yield from _value(message)
            elif error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                raise BrokerError(f"topic {traffic.topic!r} cannot be read: {error.str()}.")


def _value(message: Message) -> Iterator[JsonValue]:
    """Of an item; ends, errors and tombstones have none."""
    if dict(message.headers() or []).get("kind", Kind.ITEM.value.encode()) != Kind.ITEM.value.encode():
        return
    try:
        yield json.loads(message.value() or b"null")
    except ValueError:
        return
