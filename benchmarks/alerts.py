"""From a record on a stage's topic to its flag: latency under a steady load, throughput, and a naive Faust agent.

    python -m benchmarks.alerts [--json] [--seconds 10] [--backlog 10000]

Everything is measured in one run on one Kafka. Latency: 500 items/s, 20 assertions, every tenth item is flagged; from
just before `produce` to a consumer's receipt of the flag. Throughput: a backlog of items is there when the processor
starts; items between the first and the last flag, by their times on the topic, and by the CPU time that the process used
meanwhile, which other work on the machine hardly changes. The naive agent reads the same items; the ratio is that of
items a second of CPU time, `ratio_by_clock` that by the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from assertions.processor.runner import ensure_shared
from assertions.processor.topics import FLAGS
from benchmarks.processes import PIPELINE_VARIABLE
from benchmarks.results import report
from benchmarks.watched import item
from streams.core.lineage import RunId, Serial
from streams.core.record import Envelope, Kind
from streams.errors import BrokerError
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests, kafka_for_tests

RATE = 500
PARTITIONS = 4
WAIT_SECONDS_MAX = 180.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results/")
    parser.add_argument("--seconds", type=int, default=10, help="of steady load")
    parser.add_argument("--backlog", type=int, default=10_000, help="items for throughput")
    given = parser.parse_args()
    with kafka_for_tests() as kafka:
        ensure_shared(KafkaSettings(bootstrap=kafka.bootstrap))
        latencies = steady(kafka, given.seconds)
        ours = backlog(kafka, given.backlog)
        naive = naive_backlog(kafka, given.backlog)
    quantiles = statistics.quantiles(latencies, n=100)
    figures = {
        "p50_ms": round(quantiles[49] * 1000, 1),
        "p99_ms": round(quantiles[98] * 1000, 1),
        "items_per_s": round(ours.per_core),
        "ratio_to_naive_faust": round(ours.per_core / naive.per_core, 1),
        "naive_items_per_s": round(naive.per_core),
        "items_per_s_by_clock": round(ours.by_clock),
        "naive_items_per_s_by_clock": round(naive.by_clock),
        "ratio_by_clock": round(ours.by_clock / naive.by_clock, 1),
        "flags_timed": len(latencies),
        "load_items_per_s": RATE,
        "assertions": 20,
        "load_average": round(os.getloadavg()[0], 1),
    }
    if not given.json:
        for name, value in figures.items():
            print(f"{name:24} {value}")
    report("alerts", figures, save=given.save)


class Load:
    """Writes items as a pipeline's stage does, and the answers that close their requests."""

    def __init__(self, kafka: KafkaForTests) -> None:
        self.pipeline = kafka.unique("bench")
        topics = [f"{self.pipeline}.{stage}" for stage in ("verdict", "answers", "control")]
        kafka.create_topics(*topics, partitions=PARTITIONS, config={"message.timestamp.type": "LogAppendTime"})
        self.producer = Producer(
            {"bootstrap.servers": kafka.bootstrap, "linger.ms": 0, "queue.buffering.max.messages": 1_000_000}
        )

    def write(self, n: int) -> None:
        serial = Serial(n % PARTITIONS, n)
        envelope = Envelope(
            id=f"r{n}",
            kind=Kind.ITEM,
            serial=serial,
            plan="bench",
            stage="verdict",
            lin=(RunId(1, n),),
            deadline=int(time.time() * 1000) + 60_000,
        )
        headers = envelope.headers()
        value = {**item(n), "at": time.time()}
        self.producer.produce(
            f"{self.pipeline}.verdict", json.dumps(value).encode(), f"r{n}", partition=n % PARTITIONS, headers=headers
        )
        self.producer.produce(f"{self.pipeline}.answers", b"{}", f"r{n}", partition=n % PARTITIONS, headers=headers)
        self.producer.poll(0)


@contextmanager
def process(kafka: KafkaForTests, *command: str, pipeline: str) -> Iterator[int]:
    """Its process id."""
    environment = {**os.environ, PIPELINE_VARIABLE: pipeline, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}
    running = subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=subprocess.DEVNULL)
    try:
        yield running.pid
    finally:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokerError(otherwise)


@dataclass(frozen=True)
class Throughput:
    by_clock: float
    """Items a second."""
    per_core: float
    """Items a second of CPU time."""


class Meter:
    """CPU time that a process used between its first flag and its last."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self._cpu: list[tuple[int, float]] = []

    def take(self, key: str, at: float, pid: int) -> None:
        self.times.setdefault(key, at)
        if not self._cpu or len(self.times) >= self._cpu[-1][0] + 50:
            self._cpu.append((len(self.times), cpu_seconds(pid)))

    def throughput(self) -> Throughput:
        """Every tenth item has a flag."""
        first, *_, last = sorted(self.times.values())
        (from_flags, from_cpu), *_, (to_flags, to_cpu) = self._cpu
        return Throughput(
            (len(self.times) - 1) * 10 / (last - first), (to_flags - from_flags) * 10 / (to_cpu - from_cpu)
        )


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Reader:
    """All records of a topic as they come."""

    def __init__(self, kafka: KafkaForTests, topic: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": kafka.bootstrap, "group.id": kafka.unique("reader"), "fetch.wait.max.ms": 5}
        )
        ends_at = time.monotonic() + WAIT_SECONDS_MAX
        while not (known := self._consumer.list_topics(topic, timeout=10).topics[topic].partitions):
            _check(time.monotonic() < ends_at, f"there is no topic {topic}")
        self._consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in known])

    def until(self, enough: Callable[[], bool], take: Callable[[dict[str, Any], float], None]) -> None:
        ends_at = time.monotonic() + WAIT_SECONDS_MAX
        while not enough():
            _check(time.monotonic() < ends_at, "the flags did not come")
            first = self._consumer.poll(0.2)
            for message in [] if first is None else [first, *self._consumer.consume(500, 0)]:
                _check(message.error() is None, str(message.error()))
                take(json.loads(message.value() or b"{}"), message.timestamp()[1] / 1000)

    def close(self) -> None:
        self._consumer.close()


def steady(kafka: KafkaForTests, seconds: int) -> list[float]:
    load = Load(kafka)
    reader = Reader(kafka, FLAGS)
    warm, count = RATE * 3, RATE * seconds
    latencies: dict[str, float] = {}

    def take(flag: dict[str, Any], _: float) -> None:
        example = flag["data"]["example"]["verdict"]
        if flag["source"] == f"/{load.pipeline}/verdict" and flag["data"]["assertion"]["name"] == "marked":
            latencies.setdefault(flag["id"], time.time() - example["at"])

    with process(kafka, "assertions", "run", "benchmarks.watched", "--group", load.pipeline, pipeline=load.pipeline):
        load.write(0)
        load.producer.flush()
        reader.until(lambda: bool(latencies), take)
        writer = threading.Thread(target=_write_steadily, args=(load, 1, warm + count))
        writer.start()
        reader.until(lambda: len(latencies) > (warm + count) // 10, take)
        writer.join()
    reader.close()
    return list(latencies.values())[warm // 10 :]


def _write_steadily(load: Load, first: int, last: int) -> None:
    started = time.monotonic()
    for n in range(first, last + 1):
        time.sleep(max(0.0, started + (n - first) / RATE - time.monotonic()))
        load.write(n)
    load.producer.flush()


def backlog(kafka: KafkaForTests, count: int) -> Throughput:
    load = Load(kafka)
    for n in range(count):
        load.write(n)
    load.producer.flush()
    meter = Meter()

    def take(flag: dict[str, Any], at: float) -> None:
        if flag["source"] == f"/{load.pipeline}/verdict" and flag["data"]["assertion"]["name"] == "marked":
            meter.take(flag["id"], at, running)

    reader = Reader(kafka, FLAGS)
    command = ("assertions", "run", "benchmarks.watched", "--group", load.pipeline)
    with process(kafka, *command, pipeline=load.pipeline) as running:
        reader.until(lambda: len(meter.times) >= count // 10, take)
    reader.close()
    return meter.throughput()


def naive_backlog(kafka: KafkaForTests, count: int) -> Throughput:
    source, flags = kafka.unique("naive"), kafka.unique("naive-flags")
    kafka.create_topics(source, flags, partitions=PARTITIONS, config={"message.timestamp.type": "LogAppendTime"})
    # Faust makes them as well, but may start before they are in its metadata, and then its agent dies.
    changelogs = [f"naive-{source}-{table}-changelog" for table in ("recent", "said")]
    kafka.create_topics(*changelogs, partitions=PARTITIONS, config={"cleanup.policy": "compact"})
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "queue.buffering.max.messages": 1_000_000})
    for n in range(count):
        producer.produce(source, json.dumps(item(n)).encode(), f"r{n}", partition=n % PARTITIONS)
        producer.poll(0)
    producer.flush()
    meter = Meter()

    def take(flag: dict[str, Any], at: float) -> None:
        if flag.get("assertion") == "marked":
            meter.take(flag["example"]["text"], at, running)

    reader = Reader(kafka, flags)
    command = ("benchmarks.naive_faust", kafka.bootstrap, source, flags, str(PARTITIONS))
    with process(kafka, *command, pipeline=source) as running:
        reader.until(lambda: len(meter.times) >= count // 10, take)
    reader.close()
    return meter.throughput()


if __name__ == "__main__":
    main()
