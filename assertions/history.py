"""What the flags and health topics hold, read once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from pydantic import ValidationError

from assertions.core.flag import Flag
from assertions.processor.topics import FLAGS, HEALTH
from assertions.subscription import Since
from streams.errors import BrokerError
from streams.settings import KafkaSettings

SILENCE_SECONDS: Final = 20.0
# A processor tells its health every two seconds; one that has been quiet for a minute is not running.
STALE_SECONDS: Final = 60.0


def flags_of(kafka: KafkaSettings, assertion: str | None, since: Since) -> dict[str, Flag]:
    """Flag id → its newest record."""
    newest: dict[str, Flag] = {}
    for message in read_topic(kafka, FLAGS, since):
        try:
            flag = Flag.from_bytes(message.value() or b"")
        except ValidationError:
            continue  # of another version
        if assertion is None or flag.assertion == assertion:
            newest[flag.id] = flag
    return newest


def health_of(kafka: KafkaSettings) -> dict[str, dict[str, Any]]:
    """Assertion → its newest health, of the instance that said something last."""
    found: dict[str, dict[str, Any]] = {}
    for message in read_topic(kafka, HEALTH, "beginning"):
        state = json.loads(message.value() or b"{}")
        name = state.get("assertion")
        if name is None or time.time() - state.get("time", 0) > STALE_SECONDS:
            continue
        there = found.get(name)
        if there is None or there["time"] <= state["time"]:
            found[name] = state
    return found


def read_topic(kafka: KafkaSettings, topic: str, since: Since) -> Iterator[Message]:
    """A topic's records, up to its end as it is now; none where it does not exist. What transactions aborted is left
    out. Raises BrokerError when it cannot be read."""
    consumer = Consumer(
        {
            **kafka.client(),
            "group.id": "assertions.history",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        known = consumer.list_topics(topic, timeout=10).topics.get(topic)
        ends: dict[int, int] = {}
        starts: list[TopicPartition] = []
        for partition in known.partitions if known is not None else ():
            place = TopicPartition(topic, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=10, cached=False)
            if since == "now":
                low = high
            elif since != "beginning":
                at = TopicPartition(topic, partition, int(since.timestamp() * 1000))
                offset = consumer.offsets_for_times([at], timeout=10)[0].offset
                low = high if offset < 0 else max(low, offset)
            if low < high:
                ends[partition] = high
                starts.append(TopicPartition(topic, partition, low))
        consumer.assign(starts)
        give_up = time.monotonic() + SILENCE_SECONDS
        while ends:
            for message in consumer.consume(500, 0.1):
                if (error := message.error()) is not None and error.code() == KafkaError._PARTITION_EOF:
                    # Behind the last marker of a transaction, which is no message and does not move the position.
                    ends.pop(int(message.partition() or 0), None)
                    continue
                if error is not None:
                    raise BrokerError(f"{topic} cannot be read: {error}") from KafkaException(error)
                give_up = time.monotonic() + SILENCE_SECONDS
                yield message
            for place in consumer.position(starts):
                if place.offset >= ends.get(place.partition, 1 << 62):
                    del ends[place.partition]
            if time.monotonic() > give_up:
                raise BrokerError(f"{topic} gave nothing for {SILENCE_SECONDS:.0f} s; is Kafka up?")
    finally:
        consumer.close()
