"""Who joins where records come all the time: the client never says that a partition has been read to its end there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from learning import desk
from learning.artefacts import FolderStore
from learning.following import following
from learning.records import MODELS, VersionState, canary_key
from learning.view import PARTITIONS, topics
from streams.core.control import ControlEntry
from streams.core.partition import partition_of
from streams.runtime.follow import ControlFollower
from streams.runtime.offsets import OffsetLookup
from streams.runtime.topics import WORKERS_STATE, control_topic, ensure_topics, state_topic
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests
from tests.integration.learning.test_commands import version
from workers.routing import WorkerState
from workers.service.router import KafkaRouter

pytestmark = pytest.mark.integration

SETTINGS = PipelineSettings(partitions=1, lanes=2)
PERIOD_SECONDS = 0.02
"""A fifth of the shortest `fetch.wait.max.ms`; workers announce and closers close about as often."""
KNOWN_SECONDS_MAX = 20.0


@asynccontextmanager
async def busy(
    kafka: KafkaForTests, topic: str, value: Callable[[int], bytes], partition: int = 0
) -> AsyncIterator[None]:
    """`value(n)` on one partition, without a pause that is long enough for an end."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})

    async def speak() -> None:
        number = 0
        while True:
            producer.produce(topic, value(number), "k", partition=partition)
            producer.poll(0)
            number += 1
            await asyncio.sleep(PERIOD_SECONDS)

    speaking = asyncio.create_task(speak())
    await asyncio.sleep(1.0)
    try:
        yield
    finally:
        speaking.cancel()
        producer.flush(10)


async def test_a_router_that_joins_hears_the_workers(kafka: KafkaForTests) -> None:
    settings, model = KafkaSettings(bootstrap=kafka.bootstrap), kafka.unique("model")
    ensure_topics(settings, [state_topic(SETTINGS)])

    def state(sequence: int) -> bytes:
        said = WorkerState(worker="w", epoch=1, sequence=sequence, model=model, lanes=(0, 1), ts=time.time(), full=True)
        return said.model_dump_json().encode()

    async with busy(kafka, WORKERS_STATE, state):
        router = KafkaRouter(settings, SETTINGS, "descant")
        try:
            async with asyncio.timeout(KNOWN_SECONDS_MAX):
                while not router.workers(model):  # noqa: ASYNC110 (states arrive on a thread of the router)
                    await asyncio.sleep(0.01)
        finally:
            await router.close()


async def test_an_instance_that_joins_knows_what_is_closed(kafka: KafkaForTests) -> None:
    settings, pipeline = KafkaSettings(bootstrap=kafka.bootstrap), kafka.unique("pipeline")
    kafka.create_topics(control_topic(pipeline))
    failed: list[BaseException] = []

    def entry(number: int) -> bytes:
        return ControlEntry(number, "answered", number, max(0, number - 1)).encode()

    async with busy(kafka, control_topic(pipeline), entry):
        follower = ControlFollower(settings, OffsetLookup(settings), pipeline, failed.append)
        follower.start()
        try:
            await asyncio.wait_for(follower.ready.wait(), KNOWN_SECONDS_MAX)
            assert follower.state.of(0).low >= 10
        finally:
            await follower.close()
    assert not failed


async def test_a_process_that_joins_serves_with_what_was_promoted(kafka: KafkaForTests, tmp_path: Path) -> None:
    """Versions of another model come all the time, on the one partition that this one's lie on: an answer about two
    would say that one of them has ended, while only the other goes on."""
    settings, model = KafkaSettings(bootstrap=kafka.bootstrap), kafka.unique("model")
    while (partition := places(model)) is None:
        model = kafka.unique("model")
    store, another = FolderStore(tmp_path), kafka.unique("another")
    ensure_topics(settings, topics())
    promoted = version(model, 1, VersionState.CURRENT, store.put(model, b"says 1", format="txt"), "0" * 64)
    desk.publish(settings, [promoted])
    told = promoted.model_copy(update={"name": another, "state": VersionState.HELD}).encoded()
    async with busy(kafka, MODELS, lambda _: told, partition):
        opening = following(model, lambda _, content: content.decode(), lambda: store, lambda: "says nothing")
        async with asyncio.timeout(KNOWN_SECONDS_MAX), opening(settings) as followed:
            assert followed.of("any") == "says 1"


def places(model: str) -> int | None:
    """The partition of what a follower of the model reads; None where it reads two."""
    found = {partition_of(key.encode(), PARTITIONS) for key in (model, canary_key(model))}
    return found.pop() if len(found) == 1 else None
