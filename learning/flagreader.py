"""Reads `assertions.flags` from some time ago on, and keeps up. Flags are read as JSON, as any Kafka client would."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.errors import BrokerError
from streams.runtime.consumer import is_at_end
from streams.runtime.offsets import OffsetLookup
from streams.settings import KafkaSettings

FLAGS: Final = "assertions.flags"
FLAGS_GROUP: Final = "learning.flags"
CALL_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 2.0
"""Until there is a flags topic: whoever runs assertions makes it."""
BATCH_RECORDS: Final = 2_000

log = structlog.get_logger(__name__)


class FlagReader:
    """Without a group: its owner reads everything. Not thread-safe."""

    def __init__(self, kafka: KafkaSettings, history_seconds: float) -> None:
        self._since: Final = time.time() - history_seconds
        self._lookup: Final = OffsetLookup(kafka, seconds_max=CALL_SECONDS, stable=True)
        self._behind: set[int] | None = None
        """Partitions that were not read to their end yet; None: no topic was found."""
        self._is_missing = False
        self._ends: Final[dict[int, int]] = {}
        """Of each partition, where it ended when it was found; an end that moves on all the time is never told of."""
        self._looked = 0.0
        self.position: Final[dict[int, int]] = {}
        """By partition, the offset after the last record that was read."""
        self.unreadable = 0
        """Records that are no JSON object."""
        self._consumer: Final = Consumer(
            {
                **kafka.client(),
                "group.id": FLAGS_GROUP,  # never joined, never committed
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
            }
        )

    @property
    def is_caught_up(self) -> bool:
        """Whether every partition was read to what was its end at some time: a choice before that would be one among
        half of the flags. Without a topic there are none."""
        return self._is_missing if self._behind is None else not self._behind

    def read(self) -> Iterator[tuple[tuple[int, int], Mapping[str, Any]]]:
        """What has come, with its partition and offset; does not wait. Raises BrokerError where the topic cannot be
        read."""
        if self._behind is None:
            self._behind = self._found()
        if self._behind is None:
            return
        for message in self._consumer.consume(BATCH_RECORDS, 0):
            if is_at_end(message, self._ends):
                self._behind.discard(message.partition() or 0)
            if (error := message.error()) is not None:
                if error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                    raise BrokerError(f"topic {FLAGS!r} cannot be read: {error.str()}.")
                continue
            place = (message.partition() or 0, message.offset() or 0)
            self.position[place[0]] = place[1] + 1
            try:
                flag = json.loads(message.value() or b"")
            except ValueError:
                flag = None
            if isinstance(flag, dict):
                yield place, flag
            else:
                self.unreadable += 1

    def _found(self) -> set[int] | None:
        """The topic's partitions, from now on read; None when it is not there yet."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return None
        self._looked = time.monotonic()
        try:
            found = self._assigned()
        except KafkaException as error:
            log.warning("cannot look for flags; will try again", reason=error.args[0].str())
            return None
        self._is_missing = found is None
        return found

    def _assigned(self) -> set[int] | None:
        known = self._consumer.list_topics(timeout=CALL_SECONDS).topics.get(FLAGS)
        if known is None or not known.partitions:
            return None
        # Ends first: what comes after this line is read, also where nothing is as young as asked.
        starts = []
        for place, (_, end) in self._lookup.ranges((FLAGS, number) for number in known.partitions).items():
            since = self._lookup.since(place, int(self._since * 1000))
            self._ends[place[1]] = end
            starts.append(TopicPartition(*place, end if since is None else since))
        self._consumer.assign(starts)
        return set(known.partitions)

    def close(self) -> None:
        self._consumer.close()
