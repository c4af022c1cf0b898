"""How tokens are gathered to records: at once while the link is idle, more together the busier it is.

    python -m benchmarks.chunks [--json] [--save] [--seconds 5] [--streams 1 --streams 10 --streams 100 --streams 400]

The real worker service with the simulated engine on a real Kafka, in this process, so that it is seen when the engine
gives each token. `held_*_ms`: from then until its record is handed to the Kafka client, which is what gathering adds.
`arrival_*_ms`: until a consumer of the stage's topic has it; that includes the link. `cpu_us`: CPU of this process for
each token, engine and measuring included; `engine_cpu_us`: the same engine without worker and Kafka. With all streams
at 20 tokens a second (light) and at what the machine gives (busy: the engine does not wait).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.results import Save, report
from benchmarks.scale.flows import watched
from streams.broker import EmbeddedKafka
from streams.core.lineage import RunId, Serial
from streams.core.plan import Plan
from streams.core.record import Envelope, Headers, Kind, parse_envelope
from streams.runtime.consumer import headers_of
from streams.runtime.producer import OnDelivery
from streams.runtime.route import PromptRecord
from streams.runtime.topics import ensure_topics, prompt_topic_of, prompts_topic, topics_of
from streams.settings import KafkaSettings, PipelineSettings
from workers.engines.protocol import EngineLoad, Generation, Sampling, TokenChunk
from workers.engines.simulated import SimulatedEngine
from workers.service.worker import Worker
from workers.settings import SimulatedSettings

LIGHT_STEP_SECONDS: Final = 0.05
WAIT_SECONDS: Final = 120.0
SETTINGS: Final = PipelineSettings(partitions=1, lanes=1)


@dataclass
class Seen:
    """Times of tokens, by text and position, on this process's monotonic clock."""

    given: dict[tuple[str, int], float] = field(default_factory=dict)
    sent: dict[tuple[str, int], float] = field(default_factory=dict)
    arrived: dict[tuple[str, int], float] = field(default_factory=dict)
    tokens_of_records: list[int] = field(default_factory=list)


class StampedEngine:
    """The engine, and when it gave each token."""

    def __init__(self, engine: SimulatedEngine, seen: Seen) -> None:
        self._engine: Final = engine
        self._seen: Final = seen
        self.model = engine.model
        self.can_resume = engine.can_resume
        self.max_context = engine.max_context
        self.max_parallel = engine.max_parallel

    async def start(self) -> None:
        await self._engine.start()

    async def generate(self, generation: Generation) -> AsyncGenerator[TokenChunk, None]:
        async with aclosing(self._engine.generate(generation)) as chunks:
            async for chunk in chunks:
                for k in range(chunk.tokens):
                    self._seen.given[generation.prompt, chunk.position + k] = time.perf_counter()
                yield chunk

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        return await self._engine.tokenize(prompt)

    async def load(self) -> EngineLoad:
        return await self._engine.load()

    async def close(self) -> None:
        await self._engine.close()


class Arrivals:
    """Reads the stage's topic as the stage would."""

    def __init__(self, bootstrap: str, topic: str, seen: Seen) -> None:
        self.ended = 0
        self._seen: Final = seen
        self._consumer: Final = Consumer({"bootstrap.servers": bootstrap, "group.id": f"watch-{topic}"})
        self._consumer.assign([TopicPartition(topic, 0, 0)])
        self._is_open = True
        self._thread: Final = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._is_open:
            message = self._consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            now, envelope = time.perf_counter(), parse_envelope(headers_of(message))
            if envelope.kind is Kind.END:
                self.ended += 1
            elif envelope.kind is Kind.CHUNK:
                tokens = len(json.loads(message.value() or b"")["ids"])
                self._seen.tokens_of_records.append(tokens)
                for k in range(tokens):
                    self._seen.arrived[envelope.id, envelope.position + k] = now

    def close(self) -> None:
        self._is_open = False
        self._thread.join()
        self._consumer.close()


def main(
    seconds: Annotated[float, typer.Option(help="Of each load, about.")] = 5.0,
    streams: Annotated[list[int] | None, typer.Option(help="Texts at once; 1, 10, 100, 400 without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line.")] = False,
    save: Save = False,
) -> None:
    """Measure how tokens are gathered to records."""
    found: dict[str, dict[str, float]] = {}
    with EmbeddedKafka() as kafka:
        for load, step_seconds in (("light", LIGHT_STEP_SECONDS), ("busy", 1e-6)):
            for count in streams or (1, 10, 100, 400):
                name = f"{load}_{count}"
                tokens = max(20, int(seconds / step_seconds) if load == "light" else int(seconds * 3000 / count))
                found[name] = asyncio.run(measure(kafka.bootstrap, name.replace("_", "-"), count, tokens, step_seconds))
                if not as_json:
                    print(f"{name:10} {found[name]}", flush=True)
    busiest, calmest = list(found.values())[-1], next(iter(found.values()))
    figures: dict[str, Any] = {
        "held_p50_ms_light": calmest["held_p50_ms"],
        "tokens_per_chunk_light": calmest["tokens_per_chunk"],
        "tokens_per_chunk_busy": busiest["tokens_per_chunk"],
        "cpu_ratio_busy": round(busiest["cpu_us"] / calmest["cpu_us"], 3),
        **found,
    }
    report("chunks", figures, save=save)


async def measure(bootstrap: str, name: str, count: int, tokens: int, step_seconds: float) -> dict[str, float]:
    seen, plan = Seen(), watched(f"chunks-{name}").plan
    kafka = KafkaSettings(bootstrap=bootstrap)
    topics = [*topics_of(plan, SETTINGS).values(), prompt_topic_of(name, SETTINGS)]
    ensure_topics(kafka, topics)
    settings = SimulatedSettings(
        model=name, parallel=count, step_seconds=step_seconds, prefill_token_seconds=1e-9, decode_seconds=1e-9,
        context_token_seconds=1e-12, kv_tokens=4_000_000,
    )  # fmt: skip
    engine_cpu = await engine_alone(SimulatedEngine(settings), count, tokens)
    async with Worker(StampedEngine(SimulatedEngine(settings), seen), kafka, SETTINGS) as worker:
        _watch_sends(worker, plan.topic("write"), seen)
        arrivals = Arrivals(bootstrap, plan.topic("write"), seen)
        began = time.process_time()
        _prompts(bootstrap, plan, name, count, tokens)
        ends_at = time.monotonic() + WAIT_SECONDS
        while arrivals.ended < count:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{arrivals.ended} of {count} texts within {WAIT_SECONDS:.0f} s")
            await asyncio.sleep(0.01)
        cpu = time.process_time() - began
        arrivals.close()
    if seen.arrived.keys() != seen.given.keys():
        raise RuntimeError("what arrived is not what the engine gave")
    held = sorted((seen.sent[key] - at) * 1000 for key, at in seen.given.items())
    link = sorted((seen.arrived[key] - at) * 1000 for key, at in seen.given.items())
    return {
        "held_p50_ms": round(_quantile(held, 0.5), 3),
        "held_p99_ms": round(_quantile(held, 0.99), 3),
        "arrival_p50_ms": round(_quantile(link, 0.5), 3),
        "arrival_p99_ms": round(_quantile(link, 0.99), 3),
        "tokens_per_chunk": round(statistics.mean(seen.tokens_of_records), 2),
        "cpu_us": round(cpu / len(held) * 1e6, 1),
        "engine_cpu_us": round(engine_cpu / len(held) * 1e6, 1),
        "tokens_per_s": round(len(held) / (max(seen.arrived.values()) - min(seen.given.values()))),
    }


def _quantile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _watch_sends(worker: Worker, topic: str, seen: Seen) -> None:
    """Note when each record is handed to the client."""
    send = worker.producer.send

    def noted(
        to: str,
        key: str | bytes | None,
        value: bytes | None,
        headers: Headers,
        on_delivery: OnDelivery | None = None,
        partition: int = -1,
    ) -> None:
        if to == topic and value:
            now, position = time.perf_counter(), int(dict(headers).get("pos") or 0)
            for k in range(len(json.loads(value)["ids"])):
                seen.sent[str(key), position + k] = now
        send(to, key, value, headers, on_delivery, partition)

    worker.producer.send = noted  # type: ignore[method-assign,assignment]


def _prompts(bootstrap: str, plan: Plan, model: str, count: int, tokens: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    deadline = int((time.time() + 3600) * 1000)
    for number in range(count):
        name = f"request-{number}"
        envelope = Envelope(
            name, Kind.ITEM, Serial(0, number), plan.digest, "write", (), (RunId(1, number + 1),), deadline
        )
        prompt = PromptRecord(name, {"max_tokens": tokens}, plan.topic("write"), 0, name)
        producer.produce(prompts_topic(model), prompt.encode(), name, partition=0, headers=envelope.headers())
    if producer.flush(30):
        raise TimeoutError("the broker did not take the prompts")


async def engine_alone(engine: SimulatedEngine, count: int, tokens: int) -> float:
    """CPU seconds of the engine for the same texts, read by nobody."""

    async def one(number: int) -> None:
        name = f"request-{number}"
        async with aclosing(engine.generate(Generation(name, name, Sampling(max_tokens=tokens)))) as chunks:
            async for _ in chunks:
                pass

    await engine.start()
    began = time.process_time()
    await asyncio.gather(*(one(number) for number in range(count)))
    found = time.process_time() - began
    await engine.close()
    return found


if __name__ == "__main__":
    typer.run(main)
