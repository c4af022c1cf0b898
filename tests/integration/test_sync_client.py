"""The client that blocks, on real Kafka, in threads without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, TopicPartition
from pydantic import BaseModel

from streams import Pipeline, Stream
from streams.client import Answer, AnswerError, Client, Item, SyncClient
from streams.client.reader import Reader
from streams.errors import BrokerError
from streams.runtime.process import PipelineProcess, roles_of
from streams.runtime.topics import answers_topic
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests

pytestmark = pytest.mark.integration

SETTINGS = PipelineSettings(partitions=2)


class Count(BaseModel):
    upto: int
    pause_seconds: float = 0.0
    fails: bool = False


def counting(name: str) -> Pipeline:
    p = Pipeline(name)

    @p.stage
    async def numbers(count: Count) -> AsyncIterator[int]:
        for number in range(count.upto):
            await asyncio.sleep(count.pause_seconds)
            yield number

    @p.stage
    async def total(count: Count, numbers: Stream[int]) -> int:
        if count.fails:
            raise RuntimeError("asked to fail")
        return sum(await numbers.collect())

    @p.flow
    def flow(count: Count) -> int:
        return total(count, numbers(count))

    return p


@contextmanager
def running(pipeline: Pipeline, kafka: KafkaSettings) -> Iterator[None]:
    """The pipeline's stages, on a loop in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    process = PipelineProcess(pipeline.plan, roles_of(pipeline.plan), kafka, SETTINGS)
    asyncio.run_coroutine_threadsafe(process.__aenter__(), loop).result(60)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(process.__aexit__(None, None, None), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def settings(kafka: KafkaForTests) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka.bootstrap)


@pytest.fixture(scope="module")
def pipeline(kafka: KafkaForTests, settings: KafkaSettings) -> Iterator[Pipeline]:
    made = counting(kafka.unique("counting"))
    with running(made, settings):
        yield made


def test_threads_share_a_client_and_each_gets_its_own_answers(pipeline: Pipeline, settings: KafkaSettings) -> None:
    with SyncClient(pipeline, settings) as client, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: client.ask(Count(upto=n)), range(24)))
    assert found == [sum(range(n)) for n in range(24)]
    assert not [thread for thread in threading.enumerate() if thread.name == "client loop"]


def test_a_stream_gives_items_before_the_answer(pipeline: Pipeline, settings: KafkaSettings) -> None:
    with SyncClient(pipeline, settings, watch=True) as client:
        *partial, last = client.stream(Count(upto=4))
    assert [event.value for event in partial if isinstance(event, Item) and event.stage == "numbers"] == [0, 1, 2, 3]
    assert isinstance(last, Answer)
    assert last.value == 6


async def test_items_that_are_read_after_the_answer_come_before_it_all_the_same(
    pipeline: Pipeline, settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = answers_topic(pipeline.plan.pipeline)
    asked: list[Callable[[Consumer, list[TopicPartition]], None]] = []
    poll = Reader._poll

    def poll_after_what_is_asked(reader: Reader) -> None:  # on the thread that polls: others starve beside it
        while asked:
            asked.pop()(reader._consumer, [place for place in reader._consumer.assignment() if place.topic != answers])
        poll(reader)

    monkeypatch.setattr(Reader, "_poll", poll_after_what_is_asked)
    asked.append(lambda consumer, stages: consumer.pause(stages))
    async with Client(pipeline, settings, watch=True) as client:
        handle = await client.submit(Count(upto=4))
        assert await handle.answer() == 6, "it waits for nothing else"
        asked.append(lambda consumer, stages: consumer.resume(stages))
        *partial, last = [event async for event in handle.events()]
    assert [event.value for event in partial if isinstance(event, Item) and event.stage == "numbers"] == [0, 1, 2, 3]
    assert isinstance(last, Answer)


def test_an_error_is_raised_with_its_code(pipeline: Pipeline, settings: KafkaSettings) -> None:
    with SyncClient(pipeline, settings) as client, pytest.raises(AnswerError) as raised:
        client.ask(Count(upto=1, fails=True))
    assert raised.value.code == "stage.raised"
    assert raised.value.stage == "total"


def test_a_request_is_cancelled_and_a_wait_is_given_up(pipeline: Pipeline, settings: KafkaSettings) -> None:
    with SyncClient(pipeline, settings) as client:
        handle = client.submit(Count(upto=1000, pause_seconds=1.0))
        with pytest.raises(TimeoutError):
            handle.answer(wait_seconds=0.5)
        handle.cancel("not needed any more")
        with pytest.raises(AnswerError) as raised:
            handle.answer(wait_seconds=60)
    assert raised.value.code == "cancelled"


def test_it_says_what_is_wrong_without_a_pipeline_or_a_with(kafka: KafkaForTests, settings: KafkaSettings) -> None:
    client = SyncClient(counting(kafka.unique("nobody")), settings)
    with pytest.raises(BrokerError, match="Start the pipeline first"), client:
        pass
    with pytest.raises(BrokerError, match="with"):
        client.ask(Count(upto=1))
