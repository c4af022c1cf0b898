"""A process's part in a group that shares the models: which are its own, and the only way in which it writes of them.

The group reads a topic with a record for each model, and whoever holds the partition of a model's key works on that
model. The topic itself is read through the view; the group is there for ownership.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog
from confluent_kafka import Consumer, TopicPartition

from learning.journal import FencedError, Journal
from learning.records import Record
from learning.view import PARTITIONS, View
from streams.core.partition import partition_of
from streams.runtime.consumer import CONSUMER_CONFIG
from streams.runtime.offsets import Place
from streams.runtime.topics import set_session_timeouts
from streams.settings import KafkaSettings, PipelineSettings

log = structlog.get_logger(__name__)


class Member:
    """Blocking; one thread. The view is caught up when models have come; `on_loss` is called when some have gone."""

    def __init__(
        self, kafka: KafkaSettings, group: str, topic: str, view: View, *, on_loss: Callable[[], object]
    ) -> None:
        set_session_timeouts(kafka, [group], PipelineSettings())
        self._kafka: Final = kafka
        self._group: Final = group
        self._topic: Final = topic
        self._view: Final = view
        self._on_loss: Final = on_loss
        self._journals: Final[dict[int, Journal]] = {}
        self._written: Final[dict[int, Mapping[Place, int]]] = {}
        """By partition, where what was written last lies."""
        self._consumer: Final = Consumer(
            {**kafka.client(), **CONSUMER_CONFIG, "group.id": group, "auto.offset.reset": "latest"}
        )

    def join(self) -> None:
        self._consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def poll(self, seconds: float) -> None:
        """To be called often: this is what keeps the membership."""
        self._consumer.poll(seconds)

    def owns(self, model: str) -> bool:
        return _partition(model) in self._journals

    def may_decide(self, model: str) -> bool:
        """It is this member's, and the view has read all that this member wrote: what was decided already is not
        decided again."""
        return self.owns(model) and self._view.has_read(self._written.get(_partition(model), {}))

    def write(self, model: str, records: Sequence[Record]) -> bool:
        """All of them in one transaction, or none. False: another process owns the model now, and this one joins anew.

        Raises BrokerError where Kafka cannot be reached; the step is then simply done again.
        """
        partition = _partition(model)
        offset = max(0, int(self._consumer.position([TopicPartition(self._topic, partition)])[0].offset))
        try:
            self._written[partition] = self._journals[partition].write(
                records, TopicPartition(self._topic, partition, offset), self._consumer.consumer_group_metadata()
            )
        except FencedError as error:
            log.warning("another process owns this model now", model=model, reason=str(error))
            # Leave and join anew: whatever this member believes that it owns, the coordinator says it again.
            self._journals.clear()
            self._written.clear()
            self._on_loss()
            self._consumer.unsubscribe()
            self.join()
            return False
        return True

    def close(self) -> None:
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            # The predecessor is fenced here; what it had committed is read after that.
            self._journals[place.partition] = Journal(self._kafka, self._group, place.partition)
        log.info("owns", group=self._group, partitions=sorted(self._journals))
        self._view.catch_up()

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            self._journals.pop(place.partition, None)
            self._written.pop(place.partition, None)
        self._on_loss()


def _partition(model: str) -> int:
    return partition_of(model.encode(), PARTITIONS)
