"""Takeover of slots on a real Kafka: what is replayed is every record from the committed offset on."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.core.offsets import SlotMetadata
from streams.errors import BrokerError
from streams.runtime.consumer import retrying
from streams.runtime.offsets import OffsetLookup
from streams.runtime.ownership import SlotOwner
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests

pytestmark = pytest.mark.integration

PARTITIONS, RECORDS = 6, 20
BLOCKED_SECONDS = 0.05
"""Longer than a fetch from a broker on this machine: what is resumed has come before the loop turns again."""


class Replayed:
    """A slot that notes what it is given."""

    def __init__(self, offsets: list[int], position: int) -> None:
        self._offsets = offsets
        self._position = position

    def record(self, source: int, message: Message) -> None:
        offset = message.offset()
        assert offset is not None
        self._offsets.append(offset)
        self._position = offset + 1

    def caught_up(self) -> None:
        """Nothing is run."""

    def committable(self) -> tuple[dict[int, int], SlotMetadata]:
        return {0: self._position}, SlotMetadata(1)

    def drop(self) -> None:
        """Nothing is held."""


async def busy() -> None:
    while True:
        time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 — stands for work that keeps the loop
        await asyncio.sleep(0)


async def test_a_position_below_the_first_record_ends_the_process(kafka: KafkaForTests) -> None:
    """Retention took what the group has not finished: it is told, and nothing is read in its place."""
    topic, group = kafka.unique("retention"), kafka.unique("group")
    kafka.create_topics(topic, partitions=1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for n in range(RECORDS):
        producer.produce(topic, str(n), partition=0)
    assert producer.flush(30) == 0
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    retrying(lambda: consumer.commit(offsets=[TopicPartition(topic, 0, 3)], asynchronous=False))
    consumer.close()
    admin = AdminClient(settings.client())
    (gone,) = admin.delete_records([TopicPartition(topic, 0, RECORDS // 2)]).values()
    gone.result()

    seen: list[int] = []
    failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def open_slot(partition: int, metadata: SlotMetadata, positions: dict[int, int]) -> Replayed:
        assert positions == {0: 3}
        return Replayed(seen, positions[0])

    owner = SlotOwner(settings, OffsetLookup(settings), group, [topic], open_slot, failed.set_result)
    owner.start()
    try:
        async with asyncio.timeout(60):
            error = await failed
    finally:
        await owner.close()
    assert isinstance(error, BrokerError)
    assert error.code == "broker.offset"
    assert topic in str(error)
    assert seen == []


async def test_a_busy_loop_misses_no_record_of_what_it_takes_over(kafka: KafkaForTests) -> None:
    topic = kafka.unique("takeover")
    kafka.create_topics(topic, partitions=PARTITIONS)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for partition in range(PARTITIONS):
        for n in range(RECORDS):
            producer.produce(topic, str(n), partition=partition)
    assert producer.flush(30) == 0

    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    seen: defaultdict[int, list[int]] = defaultdict(list)
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open_slot(partition: int, metadata: SlotMetadata, positions: dict[int, int]) -> Replayed:
        return Replayed(seen[partition], positions[0])

    owner = SlotOwner(settings, OffsetLookup(settings), kafka.unique("group"), [topic], open_slot, failed.set_exception)
    working = asyncio.create_task(busy())
    owner.start()
    joined = asyncio.create_task(owner.has_joined.wait())
    try:
        waited: list[asyncio.Future[Any]] = [joined, failed]
        await asyncio.wait(waited, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    finally:
        working.cancel()
        joined.cancel()
        await owner.close()
    assert not failed.done()
    assert seen == {partition: list(range(RECORDS)) for partition in range(PARTITIONS)}
