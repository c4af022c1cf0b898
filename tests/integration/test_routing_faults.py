"""The router on live worker states: workers that come, die, lie, are too many, or are two with one id."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from confluent_kafka import Producer

from streams.client import Client
from streams.core.lineage import RunId, Serial
from streams.core.record import Envelope, Kind
from streams.runtime.process import PipelineProcess, roles_of
from streams.runtime.route import PromptRecord
from streams.runtime.topics import WORKERS_STATE
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests
from tests.integration.test_workers import Topic, teller
from workers.engines.registry import create_engine
from workers.routing import WorkerState
from workers.service.router import KafkaRouter
from workers.service.worker import Worker

pytestmark = [pytest.mark.integration]

SETTINGS = PipelineSettings(partitions=2, lanes=4)
ANSWER_SECONDS = 60.0
# A second of silence, a tick of the router, and what the record is under way.
AVOIDED_SECONDS = 1.3


@asynccontextmanager
async def announced(kafka: KafkaForTests, records: Callable[[int], list[WorkerState | bytes]]) -> AsyncIterator[None]:
    """`records(sequence)` on the state topic, again and again: to a router, what was said before it began is past."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})

    async def speak() -> None:
        for sequence in itertools.count():
            for record in records(sequence):
                value = record if isinstance(record, bytes) else record.model_dump_json()
                producer.produce(WORKERS_STATE, value, "x")
            producer.poll(0)
            await asyncio.sleep(0.2)

    speaking = asyncio.create_task(speak())
    try:
        yield
    finally:
        speaking.cancel()
        producer.flush(5)


def state_of(worker: str, model: str, sequence: int, lanes: tuple[int, ...], epoch: int = 1) -> WorkerState:
    return WorkerState(
        worker=worker, epoch=epoch, sequence=sequence, model=model, lanes=lanes, ts=time.time(), full=True
    )


async def until(is_true: Callable[[], bool], seconds: float = 60.0) -> float:
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not is_true():  # noqa: ASYNC110 (states arrive on a thread of the router)
            await asyncio.sleep(0.01)
    return time.monotonic() - began


@asynccontextmanager
async def routed(kafka: KafkaForTests, policy: str = "descant") -> AsyncIterator[KafkaRouter]:
    router = KafkaRouter(KafkaSettings(bootstrap=kafka.bootstrap), SETTINGS, policy)
    try:
        yield router
    finally:
        await router.close()


def lanes_chosen(router: KafkaRouter, model: str, count: int = 40) -> set[int]:
    found = set()
    for number in range(count):
        envelope = Envelope(
            id=f"r{number}", kind=Kind.ITEM, serial=Serial(0, number), stage="tell", lin=(RunId(1, number),),
            deadline=int(time.time() * 1000) + 60_000,
        )  # fmt: skip
        prompt = PromptRecord(f"prompt {number} " * 40, {}, "p.tell", 0, "k")
        found.add(router.lane(model, envelope, prompt, instances=1).lane)
        router.closed(Serial(0, number))
    return found


@asynccontextmanager
async def worker_process(kafka: KafkaForTests, model: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from streams.cli import main; main()", "worker", "--engine", "simulated",
        "--model", model, "--bootstrap", kafka.bootstrap, "--json",
        stdout=asyncio.subprocess.PIPE, env=os.environ | {"DESCANT_LANES": str(SETTINGS.lanes)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while json.loads(await process.stdout.readline()).get("event") != "ready":
                pass
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_joining_worker_is_used_and_a_killed_one_avoided_within_a_second(kafka: KafkaForTests) -> None:
    model = kafka.unique("model")
    async with routed(kafka) as router:
        engine = create_engine("simulated", {"model": model})
        async with Worker(engine, KafkaSettings(bootstrap=kafka.bootstrap), SETTINGS):
            await until(lambda: len(router.workers(model)) == 1)
            async with worker_process(kafka, model) as process:
                await until(lambda: len(router.workers(model)) == 2)
                owned = {state.worker: set(state.lanes) for state in router.workers(model)}
                assert lanes_chosen(router, model) <= set.union(*owned.values())
                theirs = next(w for w in owned if f"-{process.pid}-" in w)
                assert lanes_chosen(router, model) & owned[theirs], "the second worker is never used"
                os.kill(process.pid, signal.SIGKILL)
                avoided = await until(lambda: all(s.worker != theirs for s in router.workers(model)))
                assert avoided <= AVOIDED_SECONDS
                assert not lanes_chosen(router, model) & owned[theirs] - set(router.workers(model)[0].lanes)


async def test_a_stopped_worker_is_avoided_and_used_again_when_it_goes_on(kafka: KafkaForTests) -> None:
    model = kafka.unique("model")
    async with routed(kafka) as router, worker_process(kafka, model) as process:
        await until(lambda: len(router.workers(model)) == 1)
        os.kill(process.pid, signal.SIGSTOP)
        assert await until(lambda: not router.workers(model)) <= AVOIDED_SECONDS
        os.kill(process.pid, signal.SIGCONT)
        assert await until(lambda: len(router.workers(model)) == 1) <= 1.0


async def test_nonsense_on_the_state_topic_is_refused_and_nothing_else(kafka: KafkaForTests) -> None:
    model = kafka.unique("model")

    def records(sequence: int) -> list[WorkerState | bytes]:
        good = state_of("good", model, sequence, (1, 2))
        wrong = json.loads(good.model_dump_json())
        return [
            b"\xff\xfe",
            b"[]",
            b"{",
            json.dumps({**wrong, "worker": "nan", "rate": float("nan")}).encode(),
            json.dumps({**wrong, "worker": "blocks", "added": "not base64"}).encode(),
            json.dumps({**wrong, "worker": "other", "model": "another model"}).encode(),
            state_of("beyond", model, sequence, (SETTINGS.lanes,)),
            good,
        ]

    async with routed(kafka) as router, announced(kafka, records):
        await until(lambda: bool(router.workers(model)))
        await asyncio.sleep(0.5)
        assert [state.worker for state in router.workers(model)] == ["good"]
        assert lanes_chosen(router, model) <= {1, 2}


async def test_of_two_workers_with_one_id_the_one_that_started_last_counts(kafka: KafkaForTests) -> None:
    model = kafka.unique("model")

    def records(sequence: int) -> list[WorkerState | bytes]:
        return [
            state_of("twin", model, sequence, (0,), epoch=2),
            state_of("twin", model, sequence + 900, (3,), epoch=1),
        ]

    async with routed(kafka) as router, announced(kafka, records):
        await until(lambda: bool(router.workers(model)))
        await asyncio.sleep(0.5)
        assert [state.lanes for state in router.workers(model)] == [(0,)]


async def test_more_workers_than_lanes_leave_some_idle_and_all_prompts_served(kafka: KafkaForTests) -> None:
    model, one_lane = kafka.unique("model"), PipelineSettings(partitions=2, lanes=1)
    settings, pipeline = KafkaSettings(bootstrap=kafka.bootstrap), teller(kafka.unique("few"), model)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            engine = create_engine("simulated", {"model": model})
            await stack.enter_async_context(Worker(engine, settings, one_lane))
        await stack.enter_async_context(PipelineProcess(pipeline.plan, roles_of(pipeline.plan), settings, one_lane))
        client = await stack.enter_async_context(Client(pipeline, settings))
        handles = [await client.submit(Topic(title=f"number {i}")) for i in range(10)]
        async with asyncio.timeout(ANSWER_SECONDS):
            answers = [await handle.answer() for handle in handles]
    assert all(len(answer.split()) == 12 for answer in answers)


async def test_a_hundred_prompts_outlive_the_worker_that_holds_them(kafka: KafkaForTests) -> None:
    model = kafka.unique("model")
    settings, pipeline = KafkaSettings(bootstrap=kafka.bootstrap), teller(kafka.unique("many"), model)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(worker_process(kafka, model))
        await stack.enter_async_context(PipelineProcess(pipeline.plan, roles_of(pipeline.plan), settings, SETTINGS))
        client = await stack.enter_async_context(Client(pipeline, settings))
        await (await client.submit(Topic(title="warm"))).answer()
        os.kill(first.pid, signal.SIGSTOP)  # they lie in its lanes when it dies
        handles = [await client.submit(Topic(title=f"number {i}")) for i in range(100)]
        await asyncio.sleep(0.5)
        os.kill(first.pid, signal.SIGKILL)
        await stack.enter_async_context(worker_process(kafka, model))
        async with asyncio.timeout(ANSWER_SECONDS):
            answers = [await handle.answer() for handle in handles]
    assert all(len(answer.split()) == 12 for answer in answers)
