"""Ends transactions of closers that nobody else ends any more, so that a pipeline goes on by itself.

Only the marker of the same producer ends one, so the dead writer's transactional id is used once more; and it must be
the end that the coordinator had decided on, which `was_committed` finds out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from streams.core.hanging import TRANSACTION_HEADER, Stamp, was_committed
from streams.core.offsets import decode_metadata
from streams.core.plan import REQUEST, Plan
from streams.core.record import Headers, Kind
from streams.runtime.consumer import COMMITTED_SECONDS_MAX, headers_of
from streams.runtime.offsets import OffsetLookup, Place
from streams.runtime.ranges import records_between
from streams.runtime.threads import in_own_thread
from streams.runtime.topics import answers_topic, control_topic
from streams.runtime.transaction import CALL_SECONDS, PRODUCER_CONFIG
from streams.settings import KafkaSettings

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 5.0

HANGING_SECONDS: Final = 20.0
"""No writer is at work for so long: brokers abort what is open for longer than TRANSACTION_SECONDS, and look for such
every ten seconds by default."""

END_SECONDS: Final = 60.0
"""A broker that goes away meanwhile is waited for so long. A later try takes the transactional id from this one."""

APART_MS: Final = 60_000
"""Longest time between two records of one transaction, on the clocks of two brokers."""

FENCE: Final[Headers] = [("kind", Kind.FENCE.value.encode())]
"""A record without value that is written only so that its partition gets a marker."""


class _Seen(NamedTuple):
    at_ms: int
    stamp: Stamp | None


class HangingTransactions:
    """On the topics that one pipeline's closers, the members of `group`, write."""

    def __init__(self, kafka: KafkaSettings, plan: Plan, group: str, lookup: OffsetLookup) -> None:
        self._kafka: Final = kafka
        self._topics: Final = (answers_topic(plan.pipeline), control_topic(plan.pipeline))
        self._home: Final = plan.topic(REQUEST)
        self._group: Final = group
        self._lookup: Final = lookup
        self._stable: Final = OffsetLookup(kafka, stable=True)
        self._held: dict[Place, tuple[int, float]] = {}
        """Where committed records end before others do, and since when."""

    async def watch(self, partitions: Callable[[], Collection[int]]) -> None:
        """For ever; `partitions` says which are ours at the time."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                for partition in await self._hanging(partitions()):
                    await in_own_thread(self._end_first, partition, seconds=END_SECONDS)
            except (KafkaException, TimeoutError) as error:
                log.warning(
                    "a transaction that nobody ends cannot be ended now", reason=str(error) or "no reply in time"
                )

    def close(self) -> None:
        self._stable.close()

    async def _hanging(self, partitions: Collection[int]) -> list[int]:
        began = time.monotonic()
        places = [(topic, partition) for partition in partitions for topic in self._topics]
        stable, ends = await self._stable.ends(places), await self._lookup.ends(places)
        now = time.monotonic()
        if now - began > LOOK_SECONDS:
            self._held = {}  # brokers were away: they have that long again to end what there is
        before, self._held = self._held, {}
        for place, offset in stable.items():
            if offset < ends[place]:
                known, since = before.get(place, (offset, now))
                self._held[place] = (offset, since if known == offset else now)
        return sorted({place[1] for place, (_, since) in self._held.items() if now - since >= HANGING_SECONDS})

    def _end_first(self, partition: int) -> None:
        """What hangs behind the first is found at a later look."""
        held = {place: offset for place, (offset, _) in self._held.items() if place[1] == partition}
        seen = {place: self._seen(place, offset, self._lookup.end(place)) for place, offset in held.items()}
        stamp = next((records[0].stamp for records in seen.values() if records), None)
        if stamp is not None:  # else an older version's, which said nothing of its transactions
            self._end(stamp, {place: r for place, r in seen.items() if r and r[0].stamp == stamp}, held)

    def _end(self, stamp: Stamp, seen: dict[Place, list[_Seen]], held: dict[Place, int]) -> None:
        producer = Producer({**self._kafka.client(), **PRODUCER_CONFIG, "transactional.id": stamp.writer})
        # Returns when the coordinator has ended all that it knows of: what is open now stays so.
        producer.init_transactions(CALL_SECONDS)
        still = self._stable.ends_of(seen)
        seen = {place: records for place, records in seen.items() if still[place] == held[place]}
        if not seen:
            return
        stranger = Consumer({**self._kafka.client(), "group.id": self._group})  # it never joins
        try:
            committed = self._was_committed(stamp, seen, stranger)
            producer.begin_transaction()
            for topic, partition in seen:
                producer.produce(topic, None, partition=partition, headers=FENCE)
            # The group may not have been told either. Nobody reads what it commits for a topic that it does not read.
            unread = TopicPartition(*next(iter(seen)), 0)
            producer.send_offsets_to_transaction([unread], stranger.consumer_group_metadata(), CALL_SECONDS)
            end = producer.commit_transaction if committed else producer.abort_transaction
            end(CALL_SECONDS)
        finally:
            stranger.close()
        log.warning("ended a transaction that nobody ended", transaction=str(stamp), committed=committed,
                    partitions=[f"{topic}-{number}" for topic, number in seen])  # fmt: skip

    def _was_committed(self, stamp: Stamp, seen: dict[Place, list[_Seen]], stranger: Consumer) -> bool:
        partition, at_ms = next((place[1], records[0].at_ms) for place, records in seen.items())
        visible = [
            record
            for place in [(topic, partition) for topic in self._topics if (topic, partition) not in seen]
            if (start := self._lookup.since(place, at_ms - APART_MS)) is not None
            for record in self._seen(place, start, self._stable.end(place), committed=True)
        ]
        behind = [record for records in seen.values() for record in records]
        return was_committed(
            stamp,
            behind={record.stamp for record in behind if record.stamp},
            offsets=self._stamp_of_offsets(partition, stranger),
            visible={record.stamp for record in visible if record.stamp},
        )

    def _stamp_of_offsets(self, partition: int, stranger: Consumer) -> str:
        try:
            (home,) = stranger.committed([TopicPartition(self._home, partition)], COMMITTED_SECONDS_MAX)
        except KafkaException:
            return ""
        known = decode_metadata(home.metadata) if home.error is None else None
        return known.stamp if known is not None else ""

    def _seen(self, place: Place, start: int, end: int, *, committed: bool = False) -> list[_Seen]:
        records = records_between(self._kafka, place, start, end, group=self._group, committed=committed)
        return [_Seen(message.timestamp()[1], _stamp(message)) for message in records]


def _stamp(message: Message) -> Stamp | None:
    try:
        return Stamp.parse((dict(headers_of(message)).get(TRANSACTION_HEADER) or b"").decode())
    except ValueError:
        return None
