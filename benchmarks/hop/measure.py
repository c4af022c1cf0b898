"""Feeds a candidate and watches what comes out: throughput with CPU time, and latency at light load."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from streams.core.record import Headers

START_SECONDS: Final = 30.0
RUN_SECONDS: Final = 60.0
LIGHT_RECORDS_PER_SECOND: Final = 50
CLOCK_TICKS: Final = 100.0  # of /proc/PID/stat, on Linux always


@dataclass(frozen=True, slots=True)
class Figures:
    rate: float
    """Records a second, from a topic that is full."""
    p50_ms: float
    p99_ms: float
    """From produce to consume, over two links and the candidate, at light load."""
    cpu_us: float
    """CPU time of the candidate's process for each record, at full rate."""

    def as_json(self) -> dict[str, float]:
        return {"rate": round(self.rate), "p50_ms": round(self.p50_ms, 3), "p99_ms": round(self.p99_ms, 3),
                "cpu_us": round(self.cpu_us, 2)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Feed:
    """How a candidate's input looks."""

    source: str
    target: str
    record: Callable[[int], tuple[str, bytes, Headers]]
    """Number -> key, value, headers; numbers never repeat."""


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Bench:
    def __init__(self, bootstrap: str, feed: Feed) -> None:
        self._feed: Final = feed
        self._producer: Final = Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 0, "queue.buffering.max.messages": 500_000}
        )
        self._consumer: Final = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": f"bench-{feed.target}", "fetch.wait.max.ms": 50}
        )
        self._consumer.assign([TopicPartition(feed.target, 0, 0)])
        self._sent = 0

    def fill(self, records: int) -> None:
        for number in range(self._sent, self._sent + records):
            key, value, headers = self._feed.record(number)
            self._producer.produce(self._feed.source, value, key, headers=headers, partition=0)
            if number % 1000 == 0:
                self._producer.poll(0)
        self._sent += records
        self._producer.flush(60)

    def throughput(self, records: int, pid: int) -> tuple[float, float]:
        """(records a second, CPU microseconds a record) over the records after the first tenth."""
        warm = records // 10
        self._drain(warm, START_SECONDS + RUN_SECONDS)
        cpu, begun = _cpu_seconds(pid), time.perf_counter()
        self._drain(records - warm, RUN_SECONDS)
        wall, cpu = time.perf_counter() - begun, _cpu_seconds(pid) - cpu
        return (records - warm) / wall, cpu / (records - warm) * 1e6

    def latency(self, records: int) -> tuple[float, float]:
        """(p50, p99) in milliseconds, one record at a time, LIGHT_RECORDS_PER_SECOND."""
        found = []
        for _ in range(records):
            next_at = time.perf_counter() + 1 / LIGHT_RECORDS_PER_SECOND
            key, value, headers = self._feed.record(self._sent)
            self._sent += 1
            begun = time.perf_counter()
            self._producer.produce(self._feed.source, value, key, headers=headers, partition=0)
            self._producer.poll(0)
            self._drain(1, RUN_SECONDS)
            found.append((time.perf_counter() - begun) * 1e3)
            while (left := next_at - time.perf_counter()) > 0:
                time.sleep(left)
        found = found[records // 10 :]
        return statistics.median(found), statistics.quantiles(found, n=100)[98]

    def _drain(self, records: int, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        seen = 0
        while seen < records:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{self._feed.target}: {seen} of {records} records within {seconds:.0f} s")
            first = self._consumer.poll(0.2)
            if first is not None:
                seen += _record(first)
                if seen < records:
                    batch = self._consumer.consume(min(5000, records - seen), 0)
                    seen += sum(_record(m) for m in batch)

    def close(self) -> None:
        self._consumer.close()


def _record(message: Message) -> int:
    return message.error() is None


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
