"""Whether what was assigned here is ours: the coordinator is asked, since an assignment may be taken back unseen.

A coordinator (KIP-848) that wants a partition back takes it for released as soon as its member lists what it owns
without it. A member that has not heard of the assignment yet, or is still inside the callback for it, does just that
if it acknowledges an earlier one, or says everything anew after an error. The partition is then somebody else's at
once, and whoever was late learns of it later. Its commits are accepted until then: members are fenced, and not
partitions.

So a slot is taken over only when two things were answered, in this order (decisions/two-owners.md):
1. Something that the member itself asked after it had been assigned. What it said of itself before, which may lack the
   partition, has been dealt with by then, as requests on one connection are answered in order. All that it says later
   lists the partition until we give it up.
2. Who owns what. What is ours from then on is ours until we release it, or are no member any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.runtime.consumer import (
    COMMITTED_SECONDS,
    COMMITTED_SECONDS_MAX,
    RETRIABLE,
    RETRY_SECONDS,
    ConsumerThread,
)
from streams.runtime.offsets import ASK_SECONDS, OffsetLookup, Place


class Claims:
    """Of the member of `group` that a consumer thread polls for."""

    def __init__(self, consumer_thread: ConsumerThread, lookup: OffsetLookup, group: str) -> None:
        self._consumer_thread: Final = consumer_thread
        self._lookup: Final = lookup
        self._group: Final = group

    async def ours(self, places: Sequence[Place], still: Callable[[], bool]) -> frozenset[Place]:
        """Which of these, assigned here before this was called, are ours until we give them up.

        The others will be revoked, or are ours when this is called again. Nothing when `still` is no longer true.
        """
        if not await self.committed(places[:1], still):
            return frozenset()
        member = await self._consumer_thread.call(Consumer.memberid)
        owned = await asyncio.to_thread(self._lookup.ask, self._owned_by(member))
        return owned.intersection(places)

    def _owned_by(self, member: str | None) -> Callable[[AdminClient], frozenset[Place]]:
        def ask(admin: AdminClient) -> frozenset[Place]:
            group = admin.describe_consumer_groups([self._group], request_timeout=ASK_SECONDS)[self._group].result()
            return frozenset(
                (place.topic, place.partition)
                for each in group.members
                if each.member_id == member
                for place in each.assignment.topic_partitions
            )

        return ask

    async def committed(self, places: Sequence[Place], still: Callable[[], bool]) -> dict[Place, TopicPartition]:
        """Offsets and metadata, those of transactions on their way included; nothing when `still` is no longer true."""
        seconds = COMMITTED_SECONDS
        while places and still():
            try:
                found = await self._consumer_thread.committed([TopicPartition(*place) for place in places], seconds)
            except KafkaException as error:
                if error.args[0].code() not in RETRIABLE:
                    raise
                seconds = min(2 * seconds, COMMITTED_SECONDS_MAX)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return {(place.topic, place.partition): place for place in found}
        return {}
