"""How much later an answer is visible because it is written in a transaction.

    python -m benchmarks.closer [--json] [--save] [--seconds 20] [--rate 50]

A real closer process on a real Kafka. For each request: from the moment at which a plain consumer reads the record of
the terminal stage, which is when a non-transactional answer would be there, until a `read_committed` consumer reads
the answer. Requests come one by one, evenly spaced. A broker that has just started is slow for its first hundreds of
requests, in which Java compiles it; they are told apart as `cold`.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.hop.pipeline import named
from benchmarks.processes import descant, environment, running
from benchmarks.results import Save, report
from streams.broker import EmbeddedKafka
from streams.core.lineage import RunId, Serial
from streams.core.plan import Plan
from streams.core.record import Envelope, Kind
from streams.runtime.topics import answers_topic, ensure_topics, topics_of
from streams.settings import KafkaSettings, PipelineSettings

PIPELINE: Final = "closer-bench"
JOIN_REQUESTS: Final = 50
COLD_REQUESTS: Final = 500
WARM_REQUESTS: Final = 1_000
"""With the cold ones."""
WAIT_SECONDS: Final = 60.0


def main(
    seconds: Annotated[float, typer.Option(help="Of steady load, once it is warm.")] = 20.0,
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 50.0,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line.")] = False,
    save: Save = False,
) -> None:
    """Measure how much later an answer is visible because it is written in a transaction."""
    plan = named(PIPELINE).plan
    with EmbeddedKafka() as kafka, tempfile.TemporaryDirectory() as logs:
        ensure_topics(
            KafkaSettings(bootstrap=kafka.bootstrap), topics_of(plan, PipelineSettings(partitions=1)).values()
        )
        command = descant("run", "benchmarks.hop.pipeline:hop", "--bootstrap", kafka.bootstrap, "--stage", "closer")
        with running(command, environment(DESCANT_PARTITIONS="1", HOP_PIPELINE=PIPELINE), Path(logs) / "closer.log"):
            delays = measure(kafka.bootstrap, plan, WARM_REQUESTS + int(seconds * rate), 1 / rate)
    warm = delays[WARM_REQUESTS:]
    quantiles, cold = statistics.quantiles(warm, n=100), statistics.quantiles(delays[:COLD_REQUESTS], n=100)
    figures = {
        "p50_ms": round(quantiles[49], 2),
        "p99_ms": round(quantiles[98], 2),
        "largest_ms": round(max(warm), 2),
        "answers": len(warm),
        "cold_p50_ms": round(cold[49], 2),
        "cold_p99_ms": round(cold[98], 2),
        "rate_per_s": rate,
    }
    if not as_json:
        for name, value in figures.items():
            print(f"{name:12} {value}")
    report("closer", figures, save=save)


class Watch:
    """When each request id was first read from a topic, by a thread of its own."""

    def __init__(self, bootstrap: str, topic: str, isolation: str) -> None:
        self.seen: Final[dict[str, float]] = {}
        self._consumer: Final = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": f"watch-{topic}", "isolation.level": isolation}
        )
        self._consumer.assign([TopicPartition(topic, 0, 0)])
        self._is_open = True
        self._thread: Final = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._is_open:
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                key = message.key()
                self.seen.setdefault(key.decode() if isinstance(key, bytes) else str(key), time.perf_counter())

    def close(self) -> None:
        self._is_open = False
        self._thread.join()
        self._consumer.close()


def measure(bootstrap: str, plan: Plan, requests: int, spacing_seconds: float) -> list[float]:
    """Milliseconds, one a request, in order, without those that waited for it to join."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    given = Watch(bootstrap, plan.topic("pass_on"), "read_uncommitted")
    answered = Watch(bootstrap, answers_topic(plan.pipeline), "read_committed")
    deadline = int((time.time() + 3600) * 1000)
    total = requests + JOIN_REQUESTS
    next_at = time.perf_counter()
    for number in range(total):
        if number <= JOIN_REQUESTS:  # one by one, until it has joined
            _until(answered, number)
            next_at = time.perf_counter()
        name = f"request-{number}"
        request = Envelope(name, Kind.ITEM, plan=plan.digest, deadline=deadline)
        output = Envelope(
            name, Kind.ITEM, Serial(0, number), plan.digest, "pass_on", (), (RunId(1, number + 1),), deadline
        )
        producer.produce(plan.topic("accepted"), b'"q"', name, partition=0, headers=request.headers())
        producer.produce(plan.topic("pass_on"), b'"a"', name, partition=0, headers=output.headers())
        producer.poll(0)
        next_at += spacing_seconds
        time.sleep(max(0.0, next_at - time.perf_counter()))
    _until(answered, total)
    given.close()
    answered.close()
    producer.flush(5)
    names = [f"request-{number}" for number in range(JOIN_REQUESTS, total)]
    return [(answered.seen[name] - given.seen[name]) * 1000 for name in names]


def _until(watch: Watch, count: int) -> None:
    ends_at = time.monotonic() + WAIT_SECONDS
    while len(watch.seen) < count:
        if time.monotonic() > ends_at:
            raise TimeoutError(f"{len(watch.seen)} of {count} requests answered within {WAIT_SECONDS:.0f} s")
        time.sleep(0.001)


if __name__ == "__main__":
    typer.run(main)
