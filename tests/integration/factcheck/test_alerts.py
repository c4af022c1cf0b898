"""Two answers about one country that contradict each other: one alert that names both, on `descant alerts`.

The fact checker as it is, on real Kafka; only the words of the model are given, so that they surely contradict.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from examples.factcheck.models import Question
from examples.factcheck.pipeline import MODEL, factcheck
from streams.client import Client
from streams.runtime.process import PipelineProcess, roles_of
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from workers.engines.protocol import EngineLoad, Generation, TokenChunk
from workers.service.worker import Worker

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

DESCANT = [sys.executable, "-c", "from streams.cli import main; main()"]
READY_SECONDS = 60.0
ANSWER_SECONDS = 60.0
ALERT_SECONDS = 1.0
"""What the alert may take from the verdict that contradicts an earlier one."""

CAPITALS = {"Malta": ("Valletta", "Palermo"), "Andorra": ("Escaldes", "Barcelona")}
"""What two drafts say of a country. The first alert shows that everything is up; the second is timed."""
WORDINGS = ("Tell me about {}.", "What is {}?")
DRAFTS = {
    wording.format(country): f"{country} is a country in Europe. Its capital is {capital}."
    for country, capitals in CAPITALS.items()
    for wording, capital in zip(WORDINGS, capitals, strict=True)
}


class Scripted:
    """An engine that says what is written here."""

    model = MODEL
    can_resume = False
    max_context = 4_096
    max_parallel = 4

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        return tuple(range(len(prompt.split())))

    async def load(self) -> EngineLoad:
        return EngineLoad(0, 0)

    async def generate(self, generation: Generation) -> AsyncGenerator[TokenChunk, None]:
        words = re.findall(r"\s*\S+", self._answer(generation.prompt))
        for position, word in enumerate(words):
            logprobs: tuple[Mapping[str, float], ...] = ({" yes": -0.1, " no": -2.3},)
            finish = "stop" if position == len(words) - 1 else None
            yield TokenChunk(position, word, (position,), 1, logprobs, finish)

    def _answer(self, prompt: str) -> str:
        last = prompt.rstrip().splitlines()[-1]
        if last == "Answer:":
            return " " + DRAFTS[prompt.rpartition("Question: ")[2].partition("\n")[0]]
        if last.endswith("=>"):
            if found := re.match(r"(\w+)'s capital is (.+)\. =>", last):
                return f" {found[1]} | capital | {found[2]}"
            return f" {last.split()[0]} | continent | Europe"
        return " yes"


@asynccontextmanager
async def command(kafka: KafkaForTests, *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
    """A `descant` command and its standard output, one JSON document a line."""
    process = await asyncio.create_subprocess_exec(
        *DESCANT,
        *arguments,
        "--json",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap},
        limit=1 << 20,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.terminate()
        await process.wait()


async def line(output: asyncio.StreamReader, seconds: float) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        said = await output.readline()
    assert said, "the command has ended"
    found: dict[str, Any] = json.loads(said)
    return found


async def test_contradictory_answers_raise_one_alert_that_names_both(kafka: KafkaForTests) -> None:
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    asking = f"ask-{kafka.unique('r')}"
    async with (
        PipelineProcess(factcheck.plan, roles_of(factcheck.plan), settings),
        Worker(Scripted(), settings),
        command(kafka, "assertions", "run", "examples.factcheck.assertions", "--group", kafka.unique("g")) as running,
        Client(factcheck, settings) as client,
    ):
        assert (await line(running, READY_SECONDS))["event"] == "ready"
        async with command(kafka, "alerts", "--assertion", "contradiction", "--since", "5m") as watching:
            for number, question in enumerate(DRAFTS):
                handle = await client.submit(Question(text=question), id=f"{asking}-{number}")
                async with asyncio.timeout(ANSWER_SECONDS):
                    assert len((await handle.answer()).verdicts) == 2
                if number % 2:
                    alert = await line(watching, READY_SECONDS)
                    while not alert["subject"].startswith(asking):  # of other tests
                        alert = await line(watching, READY_SECONDS)
                    told_at = time.time()
                    assert {c for pair in CAPITALS.values() for c in pair if c in alert["data"]["why"]} == set(
                        list(CAPITALS.values())[number // 2]
                    )
                    assert len(alert["data"]["window"]) == 1, "it names the other answer by its id"
            with pytest.raises(TimeoutError):
                await line(watching, 2.0)
    raised_after = told_at - await asyncio.to_thread(verdict_time, kafka, f"{asking}-{len(DRAFTS) - 1}", "Barcelona")
    assert raised_after < ALERT_SECONDS, f"{raised_after:.2f} s"


def verdict_time(kafka: KafkaForTests, request_id: str, word: str) -> float:
    """When the verdict with this word came onto its topic, seconds since 1970."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "test"})
    try:
        topic = f"{factcheck.plan.pipeline}.verdict"
        partitions = consumer.list_topics(topic).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
        ends_at = time.monotonic() + READY_SECONDS
        while time.monotonic() < ends_at:
            for message in consumer.consume(500, 0.2):
                headers = dict(message.headers() or [])
                value = message.value() or b""
                if headers.get("id") == request_id.encode() and word.encode() in value:
                    return float(message.timestamp()[1]) / 1000
    finally:
        consumer.close()
    raise AssertionError("the verdict is not on its topic")
