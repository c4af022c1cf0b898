"""From a token that an assertion forbids to the end of its request: `python -m benchmarks.alerts_abort [--json]`.

A model's text is judged while it is generated; at the forbidden word the assertion ends the request. Measured by one
client of real Kafka that watches the stream: from its receipt of the chunk with the word to its receipt of the typed
error that answers the request. Pipeline and worker run in this process, the assertion's processor in one of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel

from benchmarks.alerts_forbidden import FORBIDDEN
from benchmarks.processes import PIPELINE_VARIABLE
from benchmarks.results import report
from streams import Pipeline, Prompt
from streams.client import Answer, Client, Text
from streams.runtime.process import PipelineProcess, roles_of
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests, kafka_for_tests
from workers.engines.protocol import EngineLoad, Generation, TokenChunk
from workers.service.worker import Worker

SETTINGS = PipelineSettings(partitions=2, lanes=2)
TOKEN_SECONDS = 0.02
TOKENS = 100
FORBIDDEN_AT = 10


class Question(BaseModel):
    text: str


def pipeline(name: str, model: str) -> Pipeline:
    made = Pipeline(name)

    @made.model(model, max_tokens=TOKENS)
    def draft(question: Question) -> Prompt:
        return Prompt(text=question.text)

    @made.flow
    def flow(question: Question) -> str:
        return draft(question)

    return made


class Forbidding:
    """An engine that writes 50 tokens a second, one of them the forbidden one."""

    can_resume = False
    max_context = 4_096
    max_parallel = 8

    def __init__(self, model: str) -> None:
        self.model = model
        self.written = 0

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        return tuple(range(len(prompt.split())))

    async def load(self) -> EngineLoad:
        return EngineLoad(0, 0)

    async def generate(self, generation: Generation) -> AsyncGenerator[TokenChunk, None]:
        for position in range(TOKENS):
            await asyncio.sleep(TOKEN_SECONDS)
            self.written += 1
            word = f" {FORBIDDEN}" if position == FORBIDDEN_AT else f" word{position}"
            yield TokenChunk(position, word, (position,), 1, finish="length" if position == TOKENS - 1 else None)


@asynccontextmanager
async def judged(
    kafka: KafkaForTests, name: str, module: str = "benchmarks.alerts_forbidden"
) -> AsyncGenerator[None, None]:
    """Processors of a module's assertions beside the pipeline of this name."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "assertions", "run", module, "--group", name, "--json"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, PIPELINE_VARIABLE: name, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap},
    )
    assert process.stdout is not None  # noqa: S101 a pipe was asked for
    try:
        async with asyncio.timeout(90):
            await process.stdout.readline()  # it is ready
        yield
    finally:
        process.terminate()
        await process.wait()


async def aborted_after(client: Client, number: int) -> tuple[float, str]:
    """Seconds from the forbidden word to the answer, and the error's text."""
    seen = 0.0
    async for event in client.stream(Question(text=f"question {number}")):
        if isinstance(event, Text) and FORBIDDEN in event.text:
            seen = event.at
        elif isinstance(event, Answer):
            if event.error is None or event.error.code != "cancelled":
                raise RuntimeError("the request was not aborted")
            return event.at - seen, event.error.message
    raise RuntimeError("no answer")


async def measure(kafka: KafkaForTests, count: int) -> tuple[list[float], float]:
    """Seconds of each request, and tokens written for each."""
    name, model = kafka.unique("abort"), kafka.unique("model")
    settings, made, engine = KafkaSettings(bootstrap=kafka.bootstrap), pipeline(name, model), Forbidding(model)
    async with (
        PipelineProcess(made.plan, roles_of(made.plan), settings, SETTINGS),
        Worker(engine, settings, SETTINGS),
        judged(kafka, name),
        Client(made, settings, watch=True) as client,
    ):
        await aborted_after(client, 0)  # what is loaded at first use is loaded now
        engine.written = 0
        return [(await aborted_after(client, n + 1))[0] for n in range(count)], engine.written / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results/")
    parser.add_argument("--requests", type=int, default=100)
    given = parser.parse_args()
    with kafka_for_tests() as kafka:
        seconds, tokens = asyncio.run(measure(kafka, given.requests))
    quantiles = statistics.quantiles(seconds, n=100)
    figures: dict[str, Any] = {
        "p50_ms": round(quantiles[49] * 1000, 1),
        "p99_ms": round(quantiles[98] * 1000, 1),
        "requests": len(seconds),
        "tokens_written_of_100": round(tokens, 1),
        "forbidden_at_token": FORBIDDEN_AT,
        "load_average": round(os.getloadavg()[0], 1),
    }
    if not given.json:
        for label, value in figures.items():
            print(f"{label:24} {value}")
    report("alerts_abort", figures, save=given.save)


if __name__ == "__main__":
    main()
