"""Assertions that enforce a retry with a hint, and a replacement, on a running pipeline."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from assertions import Flag, FlagState
from streams.client import Client
from streams.runtime.process import PipelineProcess, roles_of
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests
from tests.integration.test_assertions import FlagsOf, newest
from workers.engines.protocol import EngineLoad, Generation, TokenChunk
from workers.service.worker import Worker

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = PipelineSettings(partitions=2, lanes=2)


class Obliging:
    """An engine that leaves the word out when it is told to, unless the question is stubborn."""

    can_resume = False
    max_context = 4_096
    max_parallel = 8

    def __init__(self, model: str) -> None:
        self.model = model
        self.prompts: list[str] = []

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        return tuple(range(len(prompt.split())))

    async def load(self) -> EngineLoad:
        return EngineLoad(0, 0)

    async def generate(self, generation: Generation) -> AsyncGenerator[TokenChunk, None]:
        self.prompts.append(generation.prompt)
        question, _, hints = generation.prompt.partition(" | ")
        said = question.replace("forbidden", "allowed") if hints and "stubborn" not in question else question
        words = re.findall(r"\s*\S+", said)
        for position, word in enumerate(words):
            await asyncio.sleep(0.02)
            yield TokenChunk(position, word, (position,), 1, finish="stop" if position == len(words) - 1 else None)


@asynccontextmanager
async def judged(kafka: KafkaForTests, name: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "assertions", "run", "tests.integration.enforced", "--group", name, "--json"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "ENFORCED_PIPELINE": name, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(90):
            assert await process.stdout.readline()
        yield
    finally:
        process.terminate()
        await process.wait()


def about(found: list[Flag], request: str) -> Counter[tuple[str | None, FlagState]]:
    """Decisions and states of a request's flags."""
    own = [f for f in newest(found).values() if f.data.lineage.request == request]
    return Counter((f.data.decision, f.state) for f in own)


async def test_a_stage_is_asked_again_with_a_hint_and_an_item_is_replaced(
    kafka: KafkaForTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = kafka.unique("enforced")
    monkeypatch.setenv("ENFORCED_PIPELINE", name)
    sys.modules.pop("tests.integration.enforced", None)
    from tests.integration import enforced as module

    made, question, hint = module.enforced, module.Question, module.HINT
    settings, engine = KafkaSettings(bootstrap=kafka.bootstrap), Obliging(module.MODEL)
    flags = FlagsOf(kafka, name)
    async with (
        PipelineProcess(made.plan, roles_of(made.plan), settings, SETTINGS),
        Worker(engine, settings, SETTINGS),
        judged(kafka, name),
        Client(made, settings) as client,
    ):
        said = {
            "obliging": "this is forbidden you know",
            "stubborn": "a stubborn and forbidden thing",
            "secret": "here is a secret for you",
            "short": "short",
            "plain": "nothing at all",
        }
        handles = {key: await client.submit(question(text=text), id=key) for key, text in said.items()}
        async with asyncio.timeout(120):
            answers: dict[str, Any] = {key: await handle.answer() for key, handle in handles.items()}

        withdrawn, standing = FlagState.WITHDRAWN, FlagState.STANDING
        expected = {
            "stubborn": {(None, standing): 1, ("retry", withdrawn): module.RETRIES},
            "obliging": {("retry", withdrawn): 1},
            "secret": {("replace", withdrawn): 1},
            "short": {(None, standing): 1, ("retry", withdrawn): 1},
            "plain": {},
        }
        await asyncio.to_thread(
            flags.until, lambda found: all(about(found, request) == those for request, those in expected.items())
        )

    assert answers["obliging"].text == "this is allowed you know"
    assert answers["secret"].text == "(withheld)"
    assert answers["plain"].text == said["plain"]
    assert answers["stubborn"].text == said["stubborn"], "it was asked for as often as allowed, and then let through"
    assert (answers["short"].text, answers["short"].asked) == ("short", 1)
    asked = [p for p in engine.prompts if p.startswith(said["stubborn"])]
    assert [p.count(hint) for p in asked] == list(range(module.RETRIES + 1))
    assert len([p for p in engine.prompts if p.startswith(said["plain"])]) == 1
    [replaced] = [f for f in newest(flags.records).values() if f.data.decision == "replace"]
    assert replaced.data.replacement == {"text": "(withheld)", "asked": 0}
    flags.close()
