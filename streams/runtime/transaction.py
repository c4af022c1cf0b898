"""The closer's writer: answers, control entries and offsets in one transaction (PROTOCOL §9.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.access import Access
from streams.core.hanging import Stamp
from streams.core.record import Headers
from streams.runtime.consumer import NOT_MEMBER
from streams.runtime.denial import DENIED, denied
from streams.settings import KafkaSettings

# The closer commits one transaction after another. While the coordinator still writes the markers of the last one,
# librdkafka waits this long before it asks again: with its default of 100 ms a commit took p50 114 ms, with 1 ms and
# linger.ms=0 4.4 ms (Kafka 4.4, 2 cores). Cost: more requests while a coordinator is away.
RETRY_BACKOFF_MS: Final = 1

TRANSACTION_SECONDS: Final = 5.0
"""A killed closer's transaction holds up its successor, and every reader of answers, for as long."""

PRODUCER_CONFIG: Final = {
    "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
    "socket.timeout.ms": int(TRANSACTION_SECONDS * 1000),  # the client refuses a longer one
    "retry.backoff.ms": RETRY_BACKOFF_MS,
    "linger.ms": 0,
}

CALL_SECONDS: Final = 10.0

WRITE_SECONDS: Final = 15.0
"""A transaction that takes longer is given up: the coordinator has aborted it long ago, and librdkafka has been seen to
stay in `send_offsets_to_transaction` for good, past its own limit, after a broker was killed. The next takeover reads
what became of it."""


@dataclass(slots=True)
class OutRecord:
    topic: str
    partition: int
    key: str | None
    value: bytes | None
    headers: Headers = field(default_factory=list)
    offset: int = -1
    """Known once the transaction is committed."""


class NotCommittedError(Exception):
    """The transaction was aborted, for certain: decide again on the same closings."""


class UnknownOutcomeError(Exception):
    """Nobody can say whether the transaction was committed: read `answers` again before anything else is decided."""


class TransactionWriter:
    """Blocking; one call at a time, from a worker thread."""

    def __init__(self, kafka: KafkaSettings, transactional_id: str) -> None:
        self._kafka: Final = kafka
        self._id: Final = transactional_id
        self._number = 0
        self._producer: Final = Producer(
            {
                **kafka.client(),
                **PRODUCER_CONFIG,
                "transactional.id": transactional_id,
                "partitioner": "murmur2_random",
            }
        )

    def next_stamp(self) -> Stamp:
        """Of the next transaction."""
        self._number += 1
        return Stamp(self._id, self._number)

    def begin_service(self) -> None:
        """Once, before the first `write`; retried while no coordinator answers. Raises BrokerError when it may not."""
        while True:
            try:
                self._producer.init_transactions(CALL_SECONDS)
            except KafkaException as error:
                if error.args[0].code() in DENIED:
                    prefix = self._id.rpartition(".")[0]
                    missing = Access("transactional-id", f"{prefix}.", "Write", is_prefix=True)
                    raise denied(self._kafka, [missing]) from None
                if not error.args[0].retriable():
                    raise
            else:
                return

    def write(self, records: Sequence[OutRecord], offsets: list[TopicPartition], group: Any) -> None:
        """Commit all or nothing; sets the records' offsets. `group`: group metadata, taken before composing.

        Raises NotCommittedError or UnknownOutcomeError.
        """
        try:
            self._producer.begin_transaction()
            for record in records:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    partition=record.partition,
                    on_delivery=_placer(record),
                    headers=record.headers,
                )
            if self._producer.flush(TRANSACTION_SECONDS):  # the answers' places are known before the offsets go out
                raise UnknownOutcomeError("the brokers did not take the answers in time")
            self._producer.send_offsets_to_transaction(offsets, group, CALL_SECONDS)
        except KafkaException as error:
            self._abort(error.args[0])
        self._commit()

    def _commit(self) -> None:
        while True:
            try:
                self._producer.commit_transaction(CALL_SECONDS)
            except KafkaException as error:
                reason: KafkaError = error.args[0]
                if reason.retriable():
                    continue  # the same commit again, until it is known how it ended
                self._abort(reason)
            else:
                return

    def _abort(self, reason: KafkaError) -> None:
        if reason.fatal() or not (reason.txn_requires_abort() or reason.code() in NOT_MEMBER or reason.retriable()):
            raise UnknownOutcomeError(reason.str())
        while True:
            try:
                self._producer.abort_transaction(CALL_SECONDS)
            except KafkaException as error:
                if error.args[0].retriable():
                    continue
                raise UnknownOutcomeError(error.args[0].str()) from error
            raise NotCommittedError(reason.str())


def _placer(record: OutRecord) -> Any:
    def place(error: KafkaError | None, message: Message) -> None:
        if error is None:
            record.offset = message.offset() or 0

    return place
