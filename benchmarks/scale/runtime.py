"""The real runtime on a real Kafka: CPU of a stage's process for each chunk, and records a second by instances."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.processes import cpu_seconds, descant, environment, go_on, running, stop
from benchmarks.scale.flows import CHUNKS_SHOWN, watched, worked
from streams.core.lineage import RunId, Serial
from streams.core.plan import Plan
from streams.core.record import Envelope, Kind
from streams.core.text import Piece, encode_piece
from streams.runtime.consumer import retrying
from streams.runtime.topics import ensure_topics, topics_of
from streams.settings import KafkaSettings, PipelineSettings

WAIT_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.003
WRITER: Final = RunId(1, 1)
REFERENCE: Final = "benchmarks.scale.flows:pipeline"


class Load:
    """Writes what ingress and workers write, and asks the broker how far a stage is."""

    def __init__(self, bootstrap: str, plan: Plan, partitions: int) -> None:
        self.plan: Final = plan
        self.partitions: Final = partitions
        ensure_topics(
            KafkaSettings(bootstrap=bootstrap), topics_of(plan, PipelineSettings(partitions=partitions)).values()
        )
        self._producer: Final = Producer(
            {
                "bootstrap.servers": bootstrap,
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
                "enable.idempotence": True,  # a text out of order is a writer's error
            }
        )
        self._consumer: Final = Consumer({"bootstrap.servers": bootstrap, "group.id": f"bench-{plan.pipeline}"})
        self._deadline: Final = int((time.time() + 3600) * 1000)

    def produce(self, topic: str, partition: int, envelope: Envelope, value: bytes | None) -> None:
        self._producer.produce(
            self.plan.topic(topic), value, envelope.id, partition=partition, headers=envelope.headers()
        )
        self._producer.poll(0)

    def request(self, number: int) -> None:
        envelope = Envelope(f"request-{number}", Kind.ITEM, plan=self.plan.digest, deadline=self._deadline)
        self.produce("accepted", number % self.partitions, envelope, b'"text"')

    def chunk(self, number: int, position: int) -> None:
        envelope = Envelope(
            f"request-{number}", Kind.CHUNK, Serial(0, number), self.plan.digest, "write", (), (RunId(1, number + 1),),
            self._deadline, position=position, base=WRITER, w=WRITER,
        )  # fmt: skip
        self.produce("write", 0, envelope, encode_piece(Piece(position, " word", (1000 + position,), 1)))

    def flush(self) -> None:
        if self._producer.flush(60):
            raise TimeoutError("the broker did not take the records")

    def length(self, topic: str) -> int:
        places = (TopicPartition(self.plan.topic(topic), p) for p in range(self.partitions))
        return sum(retrying(partial(self._consumer.get_watermark_offsets, at, cached=False))[1] for at in places)

    def until(self, topic: str, length: int) -> None:
        ends_at = time.monotonic() + WAIT_SECONDS
        while (found := self.length(topic)) < length:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{self.plan.topic(topic)} has {found} of {length} records")
            time.sleep(LOOK_SECONDS)

    def close(self) -> None:
        self._consumer.close()


def chunk_microseconds(bootstrap: str, logs: Path, in_flight: int, chunks: int, run: str) -> float:
    """CPU of the process of `watch` for each chunk of `in_flight` open texts, a chunk at a time from each in turn."""
    plan = watched(f"scale-{run}-{in_flight}").plan
    load = Load(bootstrap, plan, 1)
    variables = environment(DESCANT_PARTITIONS="1", SCALE_FLOW="watched", SCALE_PIPELINE=plan.pipeline)
    command = descant("run", REFERENCE, "--bootstrap", bootstrap, "--stage", "watch")
    with running(command, variables, logs / f"{plan.pipeline}.log") as process:
        sent = 0

        def feed(count: int) -> None:
            nonlocal sent
            for number in range(sent, sent + count):
                load.chunk(number % in_flight, number // in_flight)
            sent += count
            load.flush()

        warm = -(-in_flight // CHUNKS_SHOWN) * CHUNKS_SHOWN  # every text has begun
        feed(warm + 2 * CHUNKS_SHOWN)
        load.until("watch", sent // CHUNKS_SHOWN)
        stop([process.pid])
        feed(chunks)
        began = cpu_seconds(process.pid)
        go_on([process.pid])
        load.until("watch", sent // CHUNKS_SHOWN)
        found = (cpu_seconds(process.pid) - began) / chunks * 1e6
    load.close()
    return found


def records_a_second(bootstrap: str, logs: Path, instances: int, records: int, run: str) -> float:
    """Of a stage that works some 200 µs on a record, by the clock, over four partitions."""
    plan = worked(f"scale-{run}-x{instances}").plan
    load = Load(bootstrap, plan, 4)
    variables = environment(DESCANT_PARTITIONS="4", SCALE_FLOW="worked", SCALE_PIPELINE=plan.pipeline)
    with ExitStack() as stack:
        pids = [
            stack.enter_context(running(command, variables, logs / f"{plan.pipeline}-{k}.log")).pid
            for k, command in enumerate(_instances(bootstrap, instances))
        ]
        warm = 400
        _requests(load, range(warm))
        load.until("work", warm)
        time.sleep(3)  # the last instance has joined, and has its share
        _requests(load, range(warm, 2 * warm))
        load.until("work", 2 * warm)
        stop(pids)
        _requests(load, range(2 * warm, 2 * warm + records))
        began = time.perf_counter()
        go_on(pids)
        load.until("work", 2 * warm + records)
        found = records / (time.perf_counter() - began)
    load.close()
    return found


def _instances(bootstrap: str, count: int) -> Iterator[Sequence[str]]:
    for _ in range(count):
        yield descant("run", REFERENCE, "--bootstrap", bootstrap, "--stage", "work")


def _requests(load: Load, numbers: range) -> None:
    for number in numbers:
        load.request(number)
    load.flush()
