"""A closer's transaction that Kafka never ends: the pipeline ends it as it was decided, and goes on."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.structs import OffsetAndMetadata  # type: ignore[import-untyped]
from aiokafka.structs import TopicPartition as Place
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from streams import Pipeline
from streams.client import Client
from streams.core.control import ControlEntry
from streams.core.hanging import TRANSACTION_HEADER, Stamp
from streams.core.offsets import SlotMetadata
from streams.core.plan import Plan
from streams.core.record import Envelope, Headers, Kind
from streams.runtime import hanging
from streams.runtime.process import PipelineProcess, roles_of
from streams.runtime.topics import answers_topic, control_topic, ensure_topics, group_of, topics_of
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests
from tests.integration.pipelines import Order, Total, fan_out
from tests.integration.test_pipelines import ANSWER_SECONDS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ONE = PipelineSettings(partitions=1)
SECONDS = 30.0

COMMITTED = [7]
"""What the dead closer wrote."""

ANEW = [0]
"""What the pipeline answers."""


@pytest.fixture
def unverified(kafka: KafkaForTests, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Brokers that take records of a transaction of which its coordinator knows nothing: it will not end it either."""
    monkeypatch.setattr(hanging, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(hanging, "HANGING_SECONDS", 3.0)

    def alter(operation: AlterConfigOpType) -> None:
        entry = ConfigEntry("transaction.partition.verification.enable", "false", incremental_operation=operation)
        for broker in kafka.admin.list_topics(timeout=SECONDS).brokers:
            resource = ConfigResource(ResourceType.BROKER, str(broker), incremental_configs=[entry])
            for done in kafka.admin.incremental_alter_configs([resource]).values():
                done.result(SECONDS)

    alter(AlterConfigOpType.SET)
    yield
    alter(AlterConfigOpType.DELETE)


class Dead:
    """A closer that was killed in a transaction which the coordinator then left out partitions of."""

    def __init__(self, kafka: KafkaForTests, plan: Plan) -> None:
        self._bootstrap = kafka.bootstrap
        self._writer = f"{plan.pipeline}.closer.dead"
        self._group = group_of(plan.pipeline, "closer")
        self._home = plan.topic("accepted")
        stamp = Stamp(self._writer, 1)
        self._headers: Headers = [(TRANSACTION_HEADER, str(stamp).encode())]
        self._metadata = SlotMetadata(1, stamp=str(stamp)).encode()
        envelope = Envelope(id="dead", kind=Kind.ITEM, plan=plan.digest, deadline=int((time.time() + 300) * 1000))
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        producer.produce(self._home, b'{"n": 1}', b"dead", partition=0, headers=envelope.headers())
        assert producer.flush(SECONDS) == 0
        self.answers = answers_topic(plan.pipeline), json.dumps({"n": 7, "values": [7]}).encode()
        self.control = control_topic(plan.pipeline), ControlEntry(0, "answered", 0, 0).encode()

    async def leaves(self, *records: tuple[str, bytes], offsets: bool = False) -> None:
        """As open as they are when they were left out."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, transactional_id=self._writer)
        await producer.start()
        await producer.begin_transaction()
        manager = producer._txn_manager
        for topic, value in records:
            manager._txn_partitions.add(Place(topic, 0))  # known to the client; the coordinator is not told
            await producer.send_and_wait(topic, value, b"dead", partition=0, headers=self._headers)
        if offsets:
            manager.consumer_group_added(self._group)
            at = OffsetAndMetadata(0, self._metadata)
            await manager.add_offsets_to_txn({Place(self._home, 0): at}, self._group)
            assert self._offsets_are_held_up()
        await producer.stop()

    def _offsets_are_held_up(self) -> bool:
        consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": self._group})
        try:
            consumer.committed([TopicPartition(self._home, 0)], timeout=1)
        except KafkaException:
            return True
        finally:
            consumer.close()
        return False

    def was_told(self, *records: tuple[str, bytes], offsets: bool = False) -> None:
        producer = Producer({"bootstrap.servers": self._bootstrap})
        for topic, value in records:
            producer.produce(topic, value, b"dead", partition=0, headers=self._headers)
        assert producer.flush(SECONDS) == 0
        if offsets:
            consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": self._group})
            consumer.commit(offsets=[TopicPartition(self._home, 0, 0, self._metadata)], asynchronous=False)
            consumer.close()


def answered(kafka: KafkaForTests, topic: str) -> dict[bytes, list[object]]:
    """What whoever reads committed records sees, by request."""
    found: dict[bytes, list[object]] = defaultdict(list)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": kafka.unique("reader"),
                         "isolation.level": "read_committed", "enable.partition.eof": True})  # fmt: skip
    consumer.assign([TopicPartition(topic, 0, 0)])
    while (message := consumer.poll(SECONDS)) is not None and message.error() is None:
        if (value := message.value()) is not None:
            found[message.key() or b""].append(json.loads(value)["values"])
    consumer.close()
    return found


@asynccontextmanager
async def running(kafka: KafkaForTests, pipeline: Pipeline) -> AsyncIterator[Client]:
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    process = PipelineProcess(pipeline.plan, roles_of(pipeline.plan), settings, ONE)
    async with process, Client(pipeline, settings) as client:
        yield client


@pytest.mark.usefixtures("unverified")
@pytest.mark.parametrize(
    ("left_out", "told", "values"),
    [
        (["answers", "control"], [], ANEW),
        (["answers"], ["control"], COMMITTED),
        (["control"], ["answers"], COMMITTED),
        (["answers", "control"], ["offsets"], COMMITTED),
        (["answers", "control", "offsets"], [], ANEW),
    ],
    ids=lambda what: " and ".join(str(w) for w in what) or "nothing",
)
async def test_it_is_ended_as_it_was_decided(
    kafka: KafkaForTests, left_out: list[str], told: list[str], values: list[int]
) -> None:
    pipeline = fan_out(kafka.unique("hanging"))
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    ensure_topics(settings, topics_of(pipeline.plan, ONE).values())
    dead = Dead(kafka, pipeline.plan)
    topics = {"answers": dead.answers, "control": dead.control}
    dead.was_told(*(topics[name] for name in told if name in topics), offsets="offsets" in told)
    await dead.leaves(*(topics[name] for name in left_out if name in topics), offsets="offsets" in left_out)
    async with running(kafka, pipeline) as client, asyncio.timeout(ANSWER_SECONDS):
        assert await client.ask(Order(n=2)) == Total(n=2, values=[0, 2])
        while b"dead" not in (found := await asyncio.to_thread(answered, kafka, dead.answers[0])):
            pass  # it was decided on again, and its stages run again
    assert found[b"dead"] == [values]
