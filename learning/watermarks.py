"""The first and the next offset of partitions, of topics that may just have been made."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaException

from streams.errors import BrokerError
from streams.runtime.offsets import OffsetLookup, Place


def watermarks(lookup: OffsetLookup, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
    """Raises BrokerError where the lookup gives up."""
    try:
        return lookup.ranges(places)
    except KafkaException as error:
        raise BrokerError(f"a topic's offsets cannot be had: {error.args[0].str()}.") from error
