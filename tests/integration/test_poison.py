"""Records that nobody of us wrote, or another version did: they are kept with the reason, and everything goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from confluent_kafka import Producer
from pydantic import BaseModel

from streams import Pipeline, Stream
from streams.client import AnswerError, Client
from streams.client.dead_letters import DeadLetters
from streams.core.lineage import RunId, Serial
from streams.core.record import Envelope, Headers, Kind
from streams.runtime.process import PipelineProcess, roles_of
from streams.runtime.topics import (
    LARGE_RECORD_BYTES,
    MODELS,
    WORKERS_STATE,
    prompts_topic,
    requests_topic,
    topics_of,
)
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from tests.integration.test_workers import ANSWER_SECONDS, SETTINGS, Topic, writer
from workers.engines.registry import create_engine
from workers.service.worker import Worker

pytestmark = pytest.mark.integration

NOWHERE = Serial(0, 10**12)
"""Of a request that does not exist, so that its failure fails nobody."""

KEPT = ("envelope", "plan", "lineage", "stage")


def garbage(plan: str) -> list[tuple[bytes | None, Headers]]:
    """From bytes without a header to an envelope that is right but for one thing."""
    right = Envelope("stray", Kind.ITEM, NOWHERE, plan, "words", (0,), (RunId(1, 1), RunId(1, 2)))
    wrong = [
        right._replace(plan="of-another-flow"),
        right._replace(lin=(RunId(1, 1),)),
        right._replace(lin=tuple(RunId(1, n) for n in range(9))),
        right._replace(stage="nobody"),
        right._replace(path=()),
        right._replace(kind=Kind.CHUNK, position=3, base=RunId(1, 1), w=RunId(1, 1)),
        right._replace(kind=Kind.END, total=10**15),
        right._replace(serial=Serial(10**9, 0)),
        right._replace(kind=Kind.FAIL),
    ]
    endless: Headers = [("id", b"x"), ("kind", b"item"), ("plan", plan.encode()), ("deadline", b"9" * 5_000)]
    lineage: Headers = [(n, b"9" * 5_000 + b"-1" if n == "lin" else v) for n, v in right.headers()]
    return [
        (b"\xff\x00", []),
        (None, []),
        (b"{}", [("kind", b"item")]),
        (b"{}", endless),
        (b"{}", lineage),
        *((b"{}", envelope.headers()) for envelope in wrong),
    ]


async def test_strays_on_every_topic_stop_nothing(kafka: KafkaForTests) -> None:
    model, settings = kafka.unique("model"), KafkaSettings(bootstrap=kafka.bootstrap)
    pipeline = writer(kafka.unique("writer"), model)
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(
            Worker(create_engine("simulated", {"model": model}), settings, SETTINGS)
        )
        process = PipelineProcess(pipeline.plan, roles_of(pipeline.plan), settings, SETTINGS)
        await stack.enter_async_context(process)
        client = await stack.enter_async_context(Client(pipeline, settings))
        ended = [asyncio.create_task(worker.wait()), asyncio.create_task(process.wait())]
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        for topic in {*topics_of(pipeline.plan, SETTINGS), prompts_topic(model), WORKERS_STATE}:
            partitions = 1 if topic == WORKERS_STATE else 2
            for partition in range(partitions):
                for value, headers in garbage(pipeline.plan.digest):
                    producer.produce(topic, value, b"stray", partition=partition, headers=headers)
        assert producer.flush(30) == 0
        async with asyncio.timeout(ANSWER_SECONDS):
            for n in range(6):  # of both partitions
                essay = await client.ask(Topic(title=f"after all {n}"))
                assert essay.words == 5
        assert not any(task.done() for task in ended), "a process ended"
        for task in ended:
            task.cancel()
    letters = list(DeadLetters(pipeline.name, settings).all())
    assert {f"record.{kind}" for kind in KEPT} <= {letter.reason for letter in letters}
    assert {letter.topic for letter in letters} >= {pipeline.plan.topic(s.name) for s in pipeline.plan.stages[:-1]}
    strays = [letter for letter in DeadLetters(MODELS, settings).all() if letter.topic == prompts_topic(model)]
    assert {letter.reason for letter in strays} <= {"record.envelope", "record.prompt"}
    assert len(strays) >= 2


@pytest.mark.parametrize("what", ["value", "headers"])
async def test_the_largest_record_that_a_client_can_send_is_kept_too(kafka: KafkaForTests, what: str) -> None:
    """Its letter is larger than itself: whoever could not write that would read it again, for ever."""
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    pipeline = shop(kafka.unique("large"), Part)
    async with AsyncExitStack() as stack:
        process = PipelineProcess(pipeline.plan, roles_of(pipeline.plan), settings, SETTINGS)
        await stack.enter_async_context(process)
        client = await stack.enter_async_context(Client(pipeline, settings))
        ended = asyncio.create_task(process.wait())
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "message.max.bytes": 2 * LARGE_RECORD_BYTES})
        value = b"x" * (LARGE_RECORD_BYTES - 1_000) if what == "value" else b"{}"
        headers: Headers = [] if what == "value" else [("h", b"")] * 100_000
        refused: list[object] = []
        producer.produce(
            requests_topic(pipeline.name),
            value,
            b"large",
            headers=headers,
            on_delivery=lambda error, _: refused.append(error) if error else None,
        )
        assert producer.flush(60) == 0
        assert not refused, "the test is about what the topic takes"
        async with asyncio.timeout(ANSWER_SECONDS):
            for n in range(6):  # of both partitions
                assert (await client.ask(Order(n=n))).parts == n
        assert not ended.done(), "the process ended"
        ended.cancel()
    [letter] = DeadLetters(pipeline.name, settings).all()
    assert (letter.request_id, len(letter.value or b"")) == ("large", len(value))


class Order(BaseModel):
    n: int


class Part(BaseModel):
    index: int


class PricedPart(Part):
    price: float
    """New, and without a default: what was written before cannot be read."""


class Sum(BaseModel):
    parts: int


def shop(name: str, part: type[Part]) -> Pipeline:
    p = Pipeline(name)

    async def parts(order: Order) -> AsyncIterator[Part]:
        for index in range(order.n):
            yield part(index=index) if part is Part else part(index=index, price=1.0)

    async def pack(part: Part) -> int:
        return part.index

    async def total(packed: Stream[int]) -> Sum:
        return Sum(parts=len(await packed.collect()))

    parts.__annotations__["return"] = AsyncIterator[part]  # type: ignore[valid-type]  # of the run, not of mypy
    pack.__annotations__["part"] = part
    stages = {function.__name__: p.stage(function) for function in (parts, pack, total)}

    @p.flow
    def flow(order: Order) -> Sum:
        return stages["total"](stages["pack"](stages["parts"](order)))  # type: ignore[return-value]

    return p


async def test_a_record_of_another_version_is_kept_and_its_request_gets_a_typed_error(kafka: KafkaForTests) -> None:
    settings, name = KafkaSettings(bootstrap=kafka.bootstrap), kafka.unique("shop")
    old, new = shop(name, Part), shop(name, PricedPart)
    assert old.plan.digest == new.plan.digest, "the flow is the same, only a type has changed"
    async with AsyncExitStack() as stack:
        for plan, roles in ((old.plan, ("ingress", "parts", "closer")), (new.plan, ("pack", "total"))):
            await stack.enter_async_context(PipelineProcess(plan, roles, settings, SETTINGS))
        client = await stack.enter_async_context(Client(old, settings))
        async with asyncio.timeout(ANSWER_SECONDS):
            with pytest.raises(AnswerError) as raised:
                await client.ask(Order(n=2))
            assert (await client.ask(Order(n=0))).parts == 0  # nothing of the new type is needed for it
    assert (raised.value.code, raised.value.stage) == ("record.schema", "pack")
    letters = [letter for letter in DeadLetters(name, settings).all() if letter.reason == "record.schema"]
    assert {letter.topic for letter in letters} == {f"{name}.parts"}
    assert {json.loads(letter.value or b"")["index"] for letter in letters} <= {0, 1}
    assert "price" in letters[0].message
    assert letters[0].headers, "with the envelope that it came in"
