"""Reading a part of one partition, once, without a group."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.runtime.consumer import LOST_PLACE, POLL_SECONDS, READER_CONFIG
from streams.runtime.denial import DENIED
from streams.runtime.offsets import Place
from streams.settings import KafkaSettings


def records_between(
    kafka: KafkaSettings, place: Place, start: int, end: int, *, group: str, committed: bool = True
) -> Iterator[Message]:
    """Blocks until it has come to `end`; where `committed`, also while a transaction below it is open.

    group   never joined; whoever reads needs the right to it

    Raises KafkaException where it may not be read, or `start` is not there any more.
    """
    isolation = "read_committed" if committed else "read_uncommitted"
    own = {"enable.partition.eof": True, "isolation.level": isolation, "group.id": group}
    consumer = Consumer({**kafka.client(), **READER_CONFIG, **own})
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
            elif error.code() in (*LOST_PLACE, *DENIED):
                raise KafkaException(error)
    finally:
        consumer.close()
