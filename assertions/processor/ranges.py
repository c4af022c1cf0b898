"""Reads some records of one partition, once."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.errors import BrokerError
from streams.settings import KafkaSettings

BATCH_RECORDS: Final = 256
WAIT_SECONDS: Final = 0.2
SILENT_SECONDS_MAX: Final = 30.0


def read_range(
    kafka: KafkaSettings, topic: str, partition: int, first: int, end: int
) -> Generator[list[tuple[int, bytes]], None, None]:
    """(offset, value) of [first, end), in batches; what retention has deleted is left out. Blocks.

    Raises BrokerError when nothing comes for 30 s, KafkaException when the partition cannot be read.
    """
    consumer = Consumer(
        {
            **kafka.client(),
            "group.id": "assertions.ranges",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )  # never joined, never committed
    try:
        consumer.assign([TopicPartition(topic, partition, first)])
        position, gives_up_at = first, time.monotonic() + SILENT_SECONDS_MAX
        while position < end:
            messages = consumer.consume(BATCH_RECORDS, WAIT_SECONDS)
            for message in messages:
                if (error := message.error()) is not None and not error.retriable():
                    raise KafkaException(error)
            found = [(int(m.offset() or 0), m.value() or b"") for m in messages if m.error() is None]
            if found:
                position, gives_up_at = found[-1][0] + 1, time.monotonic() + SILENT_SECONDS_MAX
                if batch := [(offset, value) for offset, value in found if offset < end]:
                    yield batch
            elif time.monotonic() > gives_up_at:
                raise BrokerError(f"{topic}[{partition}] could not be read from {position}; is Kafka up?")
    finally:
        consumer.close()
