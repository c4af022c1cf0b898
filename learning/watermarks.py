"""The first and the next offset of a partition, of a topic that may just have been made."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import BrokerError

CALL_SECONDS: Final = 20.0
AGAIN_SECONDS: Final = 0.1
PASSING: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._TRANSPORT,
)
"""Of a topic that was just made, or a leader that moves; librdkafka does not call all of them retriable here."""


def watermarks(consumer: Consumer, place: TopicPartition, seconds_max: float = CALL_SECONDS) -> tuple[int, int]:
    """Raises BrokerError. A partition without a leader yet, or whose leader moves, is asked again until then."""
    ends_at = time.monotonic() + seconds_max
    while True:
        try:
            low, high = consumer.get_watermark_offsets(place, timeout=CALL_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in PASSING or time.monotonic() > ends_at:
                raise BrokerError(
                    f"partition {place.partition} of topic {place.topic!r} cannot be read: {error.args[0].str()}."
                ) from error
            time.sleep(AGAIN_SECONDS)
        else:
            return low, high
