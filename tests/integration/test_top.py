"""`descant top` on a real Kafka: what runs, what waits, what nobody runs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from pydantic import BaseModel

from console.top.snapshot import PipelineRow, Snapshot
from console.top.watch import Watch
from streams import Pipeline, Prompt, Stream
from streams.broker import EmbeddedKafka
from streams.client import Client
from streams.errors import ConfigError
from streams.runtime.process import PipelineProcess, roles_of
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests
from workers.engines.registry import create_engine
from workers.service.worker import Worker

pytestmark = [pytest.mark.integration]

SETTINGS = PipelineSettings(partitions=2, lanes=2)


class Ask(BaseModel):
    text: str
    waits: bool = False


def slow(name: str, model: str, gate: asyncio.Event) -> Pipeline:
    p = Pipeline(name)

    @p.model(model, max_tokens=8)
    def draft(ask: Ask) -> Prompt:
        return Prompt(text=ask.text * 40)

    @p.stage
    async def parts(text: Stream[str]) -> AsyncIterator[str]:
        for word in (await text.text()).split():
            yield word

    @p.stage
    async def held(ask: Ask, parts: Stream[str]) -> int:
        found = await parts.collect()
        if ask.waits:
            await gate.wait()
        return len(found)

    @p.flow
    def flow(ask: Ask) -> int:
        return held(ask, parts(draft(ask)))

    return p


def of(snapshot: Snapshot, name: str) -> PipelineRow:
    [row] = [row for row in snapshot.pipelines if row.name == name]
    return row


async def test_open_requests_stages_lanes_and_workers_are_shown(kafka: KafkaForTests) -> None:
    settings, gate = KafkaSettings(bootstrap=kafka.bootstrap), asyncio.Event()
    name, model = kafka.unique("slow"), kafka.unique("model")
    pipeline = slow(name, model, gate)
    async with AsyncExitStack() as stack:
        engine = create_engine("simulated", {"model": model})
        await stack.enter_async_context(Worker(engine, settings, SETTINGS))
        await stack.enter_async_context(PipelineProcess(pipeline.plan, roles_of(pipeline.plan), settings, SETTINGS))
        client = await stack.enter_async_context(Client(pipeline, settings))
        watch = await stack.enter_async_context(Watch(settings, name))
        handle = await client.submit(Ask(text="one two three ", waits=True), id="the-slow-one")
        for _ in range(3):
            await client.ask(Ask(text="one two three "))
        async with asyncio.timeout(30):
            while True:
                row = of(snapshot := await watch.look(), name)
                [held] = [s for s in row.stages if s.name == "held"]
                worker = next((w for w in snapshot.workers if w.model == model), None)
                lanes = next(m.lanes for m in snapshot.models if m.model == model)
                routed = [lane.last_route for lane in lanes if lane.last_route]
                if row.open == 1 and held.lag and held.oldest_request and worker and worker.prefix_hits and routed:
                    break
                await asyncio.sleep(0.2)
        assert row.oldest_request == "the-slow-one"
        assert [s.name for s in row.stages] == ["ingress", "draft", "parts", "held", "closer"]
        assert all(s.members == 1 and s.unowned == 0 for s in row.stages)
        assert held.oldest_request == "the-slow-one"
        assert {lane.worker for lane in lanes} == {worker.worker}
        assert set(routed) == {"only"}  # one worker: there was no choice
        assert worker.prefix_hits > 0.3  # the same prompt four times
        assert worker.kv_blocks > 0
        document = json.loads(await _descant("top", name, "--json", "--bootstrap", kafka.bootstrap))
        assert document["pipelines"][0]["open"] == 1
        screen = await _descant("top", name, "--once", "--bootstrap", kafka.bootstrap)
        assert "1 open" in screen
        assert "the-slow-one" in screen
        gate.set()
        await handle.answer()
        for _ in range(100):
            if not of(await watch.look(), name).open:
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("an answered request is still shown as open")
    after = of(await _look(settings, name), name)
    assert all(s.members == 0 for s in after.stages)


async def test_an_empty_kafka_and_a_name_that_is_not_there() -> None:
    with EmbeddedKafka() as broker:
        settings = KafkaSettings(bootstrap=broker.bootstrap)
        assert (await _look(settings)).is_empty
        with pytest.raises(ConfigError, match="no pipeline 'factchek'"):
            await _look(settings, "factchek")


async def _look(settings: KafkaSettings, name: str | None = None) -> Snapshot:
    async with Watch(settings, name) as watch:
        return await watch.look()


async def _descant(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from streams.cli import main; main()", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
