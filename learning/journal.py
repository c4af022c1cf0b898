"""The writer of what is decided about models: one transaction a step, fenced twice.

A model's owner is the member of the group that holds the partition where the model's key lies. The transactional id is
that partition's, so a successor's `init_transactions` shuts the predecessor out; and offsets go along with the group's
metadata, so a member that lost the partition without noticing is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from learning.records import Record, also_under
from streams.errors import BrokerError
from streams.runtime.consumer import NOT_MEMBER
from streams.runtime.offsets import Place
from streams.settings import KafkaSettings

RETRAINING: Final = "learning.retraining"
"""The consumer group of retraining jobs, and how their transactional ids begin."""
CHOOSING: Final = "learning.choosing"
"""The same of the processes that choose what to label."""

CALL_SECONDS: Final = 20.0

TRANSACTION_SECONDS: Final = 10.0
"""A killed writer's open transaction hides the records behind it from readers for at most so long; its successor ends
it at once."""


class FencedError(Exception):
    """Somebody else owns the model's partition now. Nothing of this step was written."""


def produce(producer: Producer, records: Sequence[Record]) -> dict[Place, int]:
    """Within the transaction that is open. Where the last of them lies on each partition, once it is committed."""
    written: dict[Place, int] = {}

    def note(error: KafkaError | None, message: Message) -> None:
        if error is None:
            written[message.topic() or "", message.partition() or 0] = message.offset() or 0

    for record in records:
        for key, value in [(record.key, record.encoded()), *also_under(record)]:
            producer.produce(record.topic, value, key, on_delivery=note)
    producer.flush(CALL_SECONDS)  # tells `note`; what is not delivered, the commit waits for or refuses
    return written


class Journal:
    """Of one partition. Blocking; one thread."""

    def __init__(self, kafka: KafkaSettings, group: str, partition: int) -> None:
        self._producer: Final = Producer(
            {
                **kafka.client(),
                "transactional.id": f"{group}.{partition}",
                "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
                "linger.ms": 0,
                "partitioner": "murmur2_random",
            }
        )
        self._call(self._producer.init_transactions, CALL_SECONDS)

    def write(self, records: Sequence[Record], place: TopicPartition, group: Any) -> dict[Place, int]:
        """All of it or nothing. `place`: what the group commits, `group`: the consumer's group metadata.

        Returns where the last of it lies on each partition. It is not readable yet: a commit is answered before its
        markers are written. Raises FencedError, or BrokerError where Kafka cannot be reached; the step is then simply
        done again.
        """
        try:
            self._producer.begin_transaction()
            written = produce(self._producer, records)
            self._producer.send_offsets_to_transaction([place], group, CALL_SECONDS)
            self._producer.commit_transaction(CALL_SECONDS)
        except KafkaException as error:
            raise self._gone(error) from error
        return written

    def _gone(self, error: KafkaException) -> Exception:
        reason = error.args[0]
        if reason.fatal():
            return FencedError(reason.str())
        if reason.txn_requires_abort():
            self._call(self._producer.abort_transaction, CALL_SECONDS)
        if reason.code() in NOT_MEMBER:
            return FencedError(reason.str())
        return BrokerError(f"the learning journal cannot be written: {reason.str()}. It is tried again.")

    def _call(self, function: Any, seconds: float) -> None:
        try:
            function(seconds)
        except KafkaException as error:
            if error.args[0].fatal():
                raise FencedError(error.args[0].str()) from error
            raise BrokerError(f"the learning journal cannot be opened: {error.args[0].str()}.") from error
