"""What watching costs the pipeline: `python -m benchmarks.alerts_impact [--json]`.

The time from a request to its answer, with an assertion's processor beside the pipeline and without, in turns on one
Kafka: a model that writes 50 tokens a second, judged while it writes, report only. On a machine whose cores are busy
the processor takes its share like any process; what is measured here is what it does to a pipeline that has room.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from contextlib import AsyncExitStack

from benchmarks.alerts_abort import SETTINGS, Forbidding, Question, judged, pipeline
from benchmarks.results import report
from streams.client import Client
from streams.runtime.process import PipelineProcess, roles_of
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests, kafka_for_tests
from workers.service.worker import Worker

AT_ONCE = 8


async def block(client: Client, count: int) -> list[float]:
    """Seconds to the answer of so many requests, some at once."""
    room, seconds = asyncio.Semaphore(AT_ONCE), list[float]()

    async def one(number: int) -> None:
        async with room:
            started = time.monotonic()
            await client.ask(Question(text=f"question {number}"))
            seconds.append(time.monotonic() - started)

    await asyncio.gather(*(one(number) for number in range(count)))
    return seconds


async def measure(kafka: KafkaForTests, rounds: int, count: int) -> tuple[list[float], list[float]]:
    """Seconds without, and with."""
    name, model = kafka.unique("impact"), kafka.unique("model")
    settings, made = KafkaSettings(bootstrap=kafka.bootstrap), pipeline(name, model)
    without, beside = list[float](), list[float]()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(PipelineProcess(made.plan, roles_of(made.plan), settings, SETTINGS))
        await stack.enter_async_context(Worker(Forbidding(model), settings, SETTINGS))
        client = await stack.enter_async_context(Client(made, settings))
        await block(client, AT_ONCE)  # what is loaded at first use is loaded now
        for _ in range(rounds):
            without += await block(client, count)
            async with judged(kafka, name, "benchmarks.alerts_reported"):
                await block(client, AT_ONCE)
                beside += await block(client, count)
    return without, beside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results/")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--requests", type=int, default=48, help="of each kind in each round")
    given = parser.parse_args()
    with kafka_for_tests() as kafka:
        without, beside = asyncio.run(measure(kafka, given.rounds, given.requests))
    first, second = statistics.median(without), statistics.median(beside)
    figures = {
        "p50_s_without": round(first, 4),
        "p50_s_with": round(second, 4),
        "p50_change": round(second / first - 1, 4),
        "requests": len(without) + len(beside),
        "load_average": round(os.getloadavg()[0], 1),
    }
    if not given.json:
        for label, value in figures.items():
            print(f"{label:24} {value}")
    report("alerts_impact", figures, save=given.save)


if __name__ == "__main__":
    main()
