"""Whole pipelines on real Kafka, two instances of every role: joins of every shape, drops, errors, bad input."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams import Pipeline
from streams.client import AnswerError, Client
from streams.runtime.process import PipelineProcess, roles_of
from streams.runtime.topics import answers_topic, dead_letters_topic, requests_topic
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests
from tests.integration.pipelines import Order, Total, diamond, fan_out, nested

pytestmark = pytest.mark.integration

SETTINGS = PipelineSettings(partitions=3)
ANSWER_SECONDS = 60.0


@asynccontextmanager
async def running(
    kafka: KafkaForTests, make: Callable[[str], Pipeline], instances: int = 1, settings: PipelineSettings = SETTINGS
) -> AsyncIterator[tuple[Pipeline, Client]]:
    settings_of_kafka = KafkaSettings(bootstrap=kafka.bootstrap)
    pipeline = make(kafka.unique(make.__name__.replace("_", "-")))
    async with AsyncExitStack() as stack:
        for _ in range(instances):
            process = PipelineProcess(pipeline.plan, roles_of(pipeline.plan), settings_of_kafka, settings)
            await stack.enter_async_context(process)
        client = await stack.enter_async_context(Client(pipeline, settings_of_kafka))
        yield pipeline, client


async def answers(client: Client, orders: list[Order]) -> list[Total]:
    handles = [await client.submit(order) for order in orders]
    async with asyncio.timeout(ANSWER_SECONDS):
        return [await handle.answer() for handle in handles]


async def test_two_instances_answer_200_requests_with_fan_outs_0_to_40(kafka: KafkaForTests) -> None:
    async with running(kafka, fan_out, instances=2) as (_, client):
        sizes = [i % 41 for i in range(200)]
        found = await answers(client, [Order(n=n) for n in sizes])
    assert [total.values for total in found] == [[2 * i for i in range(n)] for n in sizes]


async def test_a_fork_inside_a_fork_is_joined_in_two_steps(kafka: KafkaForTests) -> None:
    async with running(kafka, nested) as (_, client):
        shapes = [(n, inner) for n in range(6) for inner in range(4)]
        found = await answers(client, [Order(n=n, inner=inner) for n, inner in shapes])
    expected = [[sum(i * 1000 + j for j in range(inner)) for i in range(n)] for n, inner in shapes]
    assert [total.values for total in found] == expected


async def test_a_diamond_whose_one_side_filters_stays_complete(kafka: KafkaForTests) -> None:
    async with running(kafka, diamond, instances=2) as (_, client):
        sizes = [0, 1, 2, 9, 20]  # of one child alone, everything is dropped
        found = await answers(client, [Order(n=n) for n in sizes])
    assert [total.values for total in found] == [[11 * i for i in range(n) if i % 3] for n in sizes]


async def test_a_stage_that_raises_becomes_a_typed_error_and_the_rest_goes_on(kafka: KafkaForTests) -> None:
    async with running(kafka, fan_out) as (_, client):
        failing = await client.submit(Order(n=5, fail_at=3), id="unlucky")
        fine = await client.submit(Order(n=5))
        async with asyncio.timeout(ANSWER_SECONDS):
            with pytest.raises(AnswerError) as raised:
                await failing.answer()
            assert (await fine.answer()).values == [0, 2, 4, 6, 8]
    assert (raised.value.code, raised.value.stage) == ("stage.raised", "double")
    assert raised.value.request_id == "unlucky"


async def test_whole_outputs_give_the_same_answers_as_streams(kafka: KafkaForTests) -> None:
    async with running(kafka, nested) as (_, client):
        async with asyncio.timeout(ANSWER_SECONDS):
            streamed = await (await client.submit(Order(n=4, inner=3))).answer()
            whole = await (await client.submit(Order(n=4, inner=3), stream=False)).answer()
    assert streamed == whole


async def test_an_id_that_is_repeated_is_answered_once(kafka: KafkaForTests) -> None:
    async with running(kafka, fan_out) as (pipeline, client):
        first = await client.submit(Order(n=2), id="again")
        async with asyncio.timeout(ANSWER_SECONDS):
            await first.answer()
            await client.submit(Order(n=3), id="again")
            other = await client.submit(Order(n=1), id="other")  # of any partition: it only passes the time
            await other.answer()
    found = [key for key, _ in read_all(kafka, answers_topic(pipeline.name)) if key == b"again"]
    assert found == [b"again"]


async def test_a_cancelled_request_is_answered_with_a_typed_error(kafka: KafkaForTests) -> None:
    async with running(kafka, sleepy) as (_, client):
        handle = await client.submit(Order(n=1))
        await handle.cancel()
        async with asyncio.timeout(ANSWER_SECONDS):
            with pytest.raises(AnswerError) as raised:
                await handle.answer()
    assert raised.value.code == "cancelled"


async def test_a_request_that_is_not_done_by_its_deadline_gets_a_typed_error(kafka: KafkaForTests) -> None:
    async with running(kafka, sleepy) as (_, client):
        handle = await client.submit(Order(n=1), timeout_seconds=1.0)
        async with asyncio.timeout(ANSWER_SECONDS):
            with pytest.raises(AnswerError) as raised:
                await handle.answer()
    assert raised.value.code == "deadline"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"{not json", "request.invalid"),
        (b'{"n": "many"}', "request.invalid"),
        (b"{}", "request.invalid"),
        (b"", "request.empty"),
        (b'{"n": 1, "pad": "' + b"x" * 5_000_000 + b'"}', "limits.request"),
    ],
    ids=["malformed", "wrong type", "missing field", "empty", "5 MB"],
)
async def test_bad_input_is_answered_and_kept_and_harms_nobody(kafka: KafkaForTests, value: bytes, code: str) -> None:
    async with running(kafka, fan_out) as (pipeline, client):
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "message.max.bytes": 8_000_000})
        producer.produce(requests_topic(pipeline.name), value, b"bad")
        assert producer.flush(30) == 0
        async with asyncio.timeout(ANSWER_SECONDS):
            assert (await client.ask(Order(n=2))).values == [0, 2]
        error = await until(kafka, answers_topic(pipeline.name), b"bad")
        dead = await until(kafka, dead_letters_topic(pipeline.name), b"bad")
    body = json.loads(error)["error"]
    assert body["code"] == code
    assert body["request_id"] == "bad"
    assert dead == value


async def test_a_plain_client_needs_no_key_and_no_header(kafka: KafkaForTests) -> None:
    async with running(kafka, fan_out) as (pipeline, _):
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        producer.produce(requests_topic(pipeline.name), b'{"n": 2}', partition=0)
        assert producer.flush(30) == 0
        answer = await until(kafka, answers_topic(pipeline.name), b"0-0")
    assert json.loads(answer)["values"] == [0, 2]


def sleepy(name: str) -> Pipeline:
    """Never answers by itself."""
    p = Pipeline(name)

    @p.stage
    async def wait(order: Order) -> Total:
        await asyncio.Event().wait()
        return Total(n=order.n, values=[])

    @p.flow
    def flow(order: Order) -> Total:
        return wait(order)

    return p


def read_all(kafka: KafkaForTests, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """All committed records of a topic, as they are now."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": kafka.unique("reader"),
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    found: list[tuple[bytes | None, bytes | None]] = []
    try:
        partitions = consumer.list_topics(topic).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        open_partitions = set(partitions)
        while open_partitions:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error() is not None:
                open_partitions.discard(message.partition())
            else:
                key, value = message.key(), message.value()
                assert not isinstance(key, str)
                assert not isinstance(value, str)
                found.append((key, value))
    finally:
        consumer.close()
    return found


async def until(kafka: KafkaForTests, topic: str, key: bytes) -> bytes:
    """The value of the record with this key, as soon as it is there; the test's own time-out bounds the wait."""
    while True:
        for found, value in await asyncio.to_thread(read_all, kafka, topic):
            if found == key:
                return value or b""
