"""An assignment that the coordinator takes back before its member has heard of it: nobody owns a slot beside another.

Kafka is not asked to do anything out of the ordinary. The member's connection is reset while it is inside the callback,
so that it says everything of itself anew, which does not yet list what it was assigned (streams.runtime.claims).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported without saying so

from streams.broker import EmbeddedKafka
from streams.broker.ports import free_port
from streams.core.offsets import SlotMetadata, decode_metadata
from streams.runtime.consumer import CONSUMER_CONFIG, ConsumerThread, retrying
from streams.runtime.offsets import OffsetLookup
from streams.runtime.ownership import SlotOwner
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from tests.chaos.relay import Relay

pytestmark = pytest.mark.integration

TOPIC, GROUP = "slots", "members"
WAIT_SECONDS = 60.0

RESETS, RESET_SECONDS = 20, 1.3
"""Heartbeats are a second apart, and their answers take almost half of one: some reset finds one on its way."""

DELAY_SECONDS = 0.2

RECORDS = 20
FETCH_SECONDS = 1.0
"""Long enough for a fetch."""

REVOKED_LATE_SECONDS = 3.0
"""Longer than a takeover: what is ours is asked of the coordinator, and not guessed from what we have been told."""


class Idle:
    """A slot that does nothing but commit its epoch."""

    def __init__(self, metadata: SlotMetadata) -> None:
        self._metadata = metadata

    def record(self, source: int, message: object) -> None:
        """There are none."""

    def caught_up(self) -> None:
        """Nothing is run."""

    def committable(self) -> tuple[dict[int, int], SlotMetadata]:
        return {0: 0}, self._metadata

    def drop(self) -> None:
        """Nothing is held."""


@pytest.fixture
def relay() -> Iterator[Relay]:
    made = Relay()
    yield made
    made.close()


def test_what_is_paused_before_it_is_assigned_is_not_fetched_where_it_was_put(kafka: KafkaForTests) -> None:
    """The client's own ways, which `ConsumerThread` relies on: position 0 is gone here, and nobody is told of it."""
    topic = kafka.unique("paused")
    kafka.create_topics(topic)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for n in range(RECORDS):
        producer.produce(topic, str(n), partition=0)
    assert producer.flush(30) == 0
    (gone,) = kafka.admin.delete_records([TopicPartition(topic, 0, RECORDS // 2)]).values()
    gone.result()
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, **CONSUMER_CONFIG, "group.id": kafka.unique("group")})
    place = TopicPartition(topic, 0, 0)

    def assigned(consumer: Consumer, _: list[TopicPartition]) -> None:
        consumer.get_watermark_offsets(place, cached=True)
        consumer.pause([place])
        consumer.incremental_assign([place])
        is_assigned.set()

    is_assigned = threading.Event()
    consumer.subscribe([topic], on_assign=assigned)
    try:
        ends_at = time.monotonic() + WAIT_SECONDS
        while not is_assigned.is_set():
            assert consumer.poll(0.05) is None
            assert time.monotonic() < ends_at
        assert consumer.poll(FETCH_SECONDS) is None
        place.offset = RECORDS - 3
        consumer.seek(place)
        consumer.resume([place])
        found = consumer.consume(3, WAIT_SECONDS)
        assert [message.offset() for message in found] == list(range(RECORDS - 3, RECORDS))
    finally:
        consumer.close()


async def test_what_was_taken_back_on_its_way_is_never_opened(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    relay.target = free_port()
    with EmbeddedKafka(port=relay.target, advertised_port=relay.port):
        settings = KafkaSettings(bootstrap=f"127.0.0.1:{relay.port}")
        admin = AdminClient(settings.client())
        admin.create_topics([NewTopic(TOPIC, 2, 1)])[TOPIC].result()
        lookup = OffsetLookup(settings)
        opened: list[tuple[str, int, int]] = []
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def member(name: str) -> SlotOwner:
            async def open_slot(partition: int, metadata: SlotMetadata, positions: dict[int, int]) -> Idle:
                opened.append((name, partition, metadata.epoch))
                return Idle(metadata)

            return SlotOwner(settings, lookup, GROUP, [TOPIC], open_slot, failed.set_exception)

        late, prompt = member("late"), member("prompt")
        is_inside, may_go_on = threading.Event(), threading.Event()
        on_assign, on_revoke = ConsumerThread._on_assign, ConsumerThread._on_revoke

        def on_assign_late(thread: ConsumerThread, consumer: Consumer, partitions: list[TopicPartition]) -> None:
            if thread is late.consumer_thread and partitions:
                is_inside.set()
                may_go_on.wait(WAIT_SECONDS)
            on_assign(thread, consumer, partitions)

        def on_revoke_late(thread: ConsumerThread, consumer: Consumer, partitions: list[TopicPartition]) -> None:
            told_at = time.monotonic() + REVOKED_LATE_SECONDS
            while thread is late.consumer_thread and time.monotonic() < told_at:
                thread._serve_calls()
                time.sleep(0.02)
            on_revoke(thread, consumer, partitions)

        monkeypatch.setattr(ConsumerThread, "_on_assign", on_assign_late)
        monkeypatch.setattr(ConsumerThread, "_on_revoke", on_revoke_late)
        try:
            late.start()
            await asyncio.to_thread(is_inside.wait, WAIT_SECONDS)
            prompt.start()
            relay.delay_seconds = DELAY_SECONDS
            for _ in range(RESETS):
                relay.cut(True)
                await asyncio.sleep(0.05)
                relay.cut(False)
                await asyncio.sleep(RESET_SECONDS)
                if (owned := await asyncio.to_thread(lookup.ask, assignments)) == [1, 1]:
                    break
            relay.delay_seconds = 0.0
            assert owned == [1, 1], "no reset has met a heartbeat"
            await _until(lambda: bool(opened), failed)
            may_go_on.set()
            await _until(lambda: len(late.states) == len(prompt.states) == 1, failed)
            await asyncio.sleep(1.0)  # longer than between two commits
        finally:
            may_go_on.set()
            await late.close()
            await prompt.close()
        assert [name for name, _, _ in opened] == ["prompt", "late"], opened
        assert {partition for _, partition, _ in opened} == {0, 1}, "two owners of one slot"
        assert epochs(settings) == {partition: epoch for _, partition, epoch in opened}


def assignments(admin: AdminClient) -> list[int]:
    """How many partitions each member has."""
    group = admin.describe_consumer_groups([GROUP], request_timeout=2)[GROUP].result()
    return [len(member.assignment.topic_partitions) for member in group.members]


async def _until(is_so: Callable[[], bool], failed: asyncio.Future[None]) -> None:
    ends_at = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < ends_at
        if failed.done():
            failed.result()
        await asyncio.sleep(0.05)


def epochs(settings: KafkaSettings) -> dict[int, int]:
    consumer = Consumer({**settings.client(), "group.id": GROUP})
    try:
        places = retrying(lambda: consumer.committed([TopicPartition(TOPIC, q) for q in range(2)], timeout=20))
        found = {place.partition: decode_metadata(place.metadata) for place in places}
        return {partition: metadata.epoch for partition, metadata in found.items() if metadata is not None}
    finally:
        consumer.close()
