"""@model stages on real Kafka: prompts to lanes, texts straight to the next stage, workers that come and go.

The engine is the simulated one: what is tested is the way of prompts and texts, not what a model writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from pydantic import BaseModel

from streams import Pipeline, Prompt, Stream
from streams.client import AnswerError, Client, Text, TextEnd
from streams.runtime.process import PipelineProcess, roles_of
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests
from workers.engines.registry import create_engine
from workers.service.worker import Worker

pytestmark = pytest.mark.integration

SETTINGS = PipelineSettings(partitions=2, lanes=4)
ANSWER_SECONDS = 60.0


class Topic(BaseModel):
    title: str
    tokens: int = 24


class Essay(BaseModel):
    words: int
    echoes: list[str]


def writer(name: str, model: str) -> Pipeline:
    """topic → text → one word each → a second text a word → joined."""
    p = Pipeline(name)

    @p.model(model)
    def draft(topic: Topic) -> Prompt:
        return Prompt(text=f"Write about {topic.title}.", max_tokens=topic.tokens)

    @p.stage
    async def words(text: Stream[str]) -> AsyncIterator[str]:
        for word in (await text.text()).split()[:5]:
            yield word

    @p.model(model, max_tokens=4)
    def echo(word: str) -> Prompt:
        return Prompt(text=f"Repeat {word}.")

    @p.stage
    async def heard(word: str, text: Stream[str]) -> str:
        return f"{word}:{len((await text.text()).split())}"

    @p.stage
    async def essay(topic: Topic, heard: Stream[str]) -> Essay:
        found = await heard.collect()
        return Essay(words=len(found), echoes=found)

    @p.flow
    def flow(topic: Topic) -> Essay:
        each = words(draft(topic))
        return essay(topic, heard(each, echo(each)))

    return p


def teller(name: str, model: str) -> Pipeline:
    """The flow ends in a model: its text is the answer."""
    p = Pipeline(name)

    @p.model(model, max_tokens=12)
    def tell(topic: Topic) -> Prompt:
        return Prompt(text=topic.title)

    @p.flow
    def flow(topic: Topic) -> str:
        return tell(topic)

    return p


@asynccontextmanager
async def running(kafka: KafkaForTests, pipeline: Pipeline, model: str, workers: int) -> AsyncIterator[Client]:
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    async with AsyncExitStack() as stack:
        for _ in range(workers):
            engine = create_engine("simulated", {"model": model, "context": 2_048})
            await stack.enter_async_context(Worker(engine, settings, SETTINGS))
        process = PipelineProcess(pipeline.plan, roles_of(pipeline.plan), settings, SETTINGS)
        await stack.enter_async_context(process)
        yield await stack.enter_async_context(Client(pipeline, settings, watch=True))


async def test_texts_flow_between_two_workers_and_the_stages(kafka: KafkaForTests) -> None:
    model = kafka.unique("model")
    async with running(kafka, writer(kafka.unique("writer"), model), model, workers=2) as client:
        handles = [await client.submit(Topic(title=f"number {i}")) for i in range(20)]
        async with asyncio.timeout(ANSWER_SECONDS):
            essays = [await handle.answer() for handle in handles]
    assert all(essay.words == 5 and len(essay.echoes) == 5 for essay in essays)
    assert all(echo.endswith(":4") for essay in essays for echo in essay.echoes)


async def test_a_text_is_the_answer_and_is_watched_token_by_token(kafka: KafkaForTests) -> None:
    model = kafka.unique("model")
    async with running(kafka, teller(kafka.unique("teller"), model), model, workers=1) as client:
        handle = await client.submit(Topic(title="once"))
        async with asyncio.timeout(ANSWER_SECONDS):
            events = [event async for event in handle.events()]
            answer = await handle.answer()
    pieces = [event for event in events if isinstance(event, Text)]
    assert "".join(piece.text for piece in pieces) == answer
    assert [piece.position for piece in pieces] == sorted({piece.position for piece in pieces})
    assert [event.tokens for event in events if isinstance(event, TextEnd)] == [12]


async def test_a_prompt_beyond_the_context_is_a_typed_error(kafka: KafkaForTests) -> None:
    model = kafka.unique("model")
    async with running(kafka, teller(kafka.unique("teller"), model), model, workers=1) as client:
        handle = await client.submit(Topic(title="long " * 4_000))
        async with asyncio.timeout(ANSWER_SECONDS):
            with pytest.raises(AnswerError) as raised:
                await handle.answer()
    assert (raised.value.code, raised.value.stage) == ("model.prompt_too_long", "tell")


async def test_prompts_wait_for_a_worker_and_are_served_when_one_comes(kafka: KafkaForTests) -> None:
    model = kafka.unique("model")
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    pipeline = teller(kafka.unique("teller"), model)
    async with running(kafka, pipeline, model, workers=0) as client:
        handle = await client.submit(Topic(title="patience"))
        nobody = await client.submit(Topic(title="too late"), timeout_seconds=3)
        async with asyncio.timeout(ANSWER_SECONDS):
            with pytest.raises(AnswerError) as raised:
                await nobody.answer()
            assert raised.value.code == "model.no_lane"
            assert model in str(raised.value), "the error does not say which model"
            engine = create_engine("simulated", {"model": model})
            async with Worker(engine, settings, SETTINGS):
                assert len((await handle.answer()).split()) == 12


def whole_teller(name: str, model: str) -> Pipeline:
    p = Pipeline(name)

    @p.model(model, max_tokens=12, whole=True)
    def tell(topic: Topic) -> Prompt:
        return Prompt(text=topic.title)

    @p.flow
    def flow(topic: Topic) -> str:
        return tell(topic)

    return p


async def test_a_text_that_nobody_reads_half_leaves_as_one_record(kafka: KafkaForTests) -> None:
    model = kafka.unique("model")
    async with running(kafka, whole_teller(kafka.unique("whole"), model), model, workers=1) as client:
        handle = await client.submit(Topic(title="once"))
        async with asyncio.timeout(ANSWER_SECONDS):
            events = [event async for event in handle.events()]
            answer = await handle.answer()
    assert [event.text for event in events if isinstance(event, Text)] == [answer]
