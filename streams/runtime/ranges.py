"""Reading a part of one partition, once, without a group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.runtime.consumer import CONSUMER_CONFIG, POLL_SECONDS
from streams.runtime.offsets import Place
from streams.settings import KafkaSettings

CONFIG: Final = {k: v for k, v in CONSUMER_CONFIG.items() if not k.startswith("group.")} | {
    "enable.partition.eof": True
}


def records_between(
    kafka: KafkaSettings, place: Place, start: int, end: int, *, group: str, committed: bool = True
) -> Iterator[Message]:
    """Blocks until it has come to `end`; where `committed`, also while a transaction below it is open.

    group   never joined; whoever reads needs the right to it
    """
    isolation = "read_committed" if committed else "read_uncommitted"
    consumer = Consumer({**kafka.client(), **CONFIG, "isolation.level": isolation, "group.id": group})
    try:
        consumer.assign([TopicPartition(*place, start)])
        position = start
        while position < end:
            message = consumer.poll(POLL_SECONDS)
            if message is None:
                continue
            error = message.error()
            if error is None:
                position = (message.offset() or 0) + 1
                if position <= end:
                    yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                position = message.offset() or 0  # behind the last marker, or before a transaction still open
    finally:
        consumer.close()
