"""Feeds a candidate and watches what comes out: latency at light load, then throughput with CPU time.

A candidate is running and warm when it is measured. For throughput it is stopped (SIGSTOP) while its topic is filled
and let go at once, so that neither its start nor the feeder is measured; it is done when its target topic has grown
by as many records, which the broker is asked for, so that no consumer of ours takes CPU beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.processes import cpu_seconds, go_on, stop
from streams.core.record import Headers
from streams.runtime.consumer import retrying

START_SECONDS: Final = 60.0
RUN_SECONDS: Final = 120.0
LIGHT_RECORDS_PER_SECOND: Final = 50
LOOK_SECONDS: Final = 0.003


@dataclass(frozen=True, slots=True)
class Figures:
    rate: float
    """Records a second, from a topic that is full."""
    p50_ms: float
    p99_ms: float
    """From produce to consume, over two links and the candidate, at light load."""
    cpu_us: float
    """CPU time of the candidate's process for each record, at full rate."""


@dataclass(frozen=True, slots=True)
class Feed:
    """How a candidate's input looks."""

    source: str
    target: str
    record: Callable[[int], tuple[str, bytes, Headers]]
    """Number -> key, value, headers; numbers never repeat."""


class Bench:
    def __init__(self, bootstrap: str, feed: Feed) -> None:
        self._feed: Final = feed
        self._producer: Final = Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 0, "queue.buffering.max.messages": 500_000}
        )
        self._consumer: Final = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": f"bench-{feed.target}", "fetch.wait.max.ms": 50}
        )
        self._place: Final = TopicPartition(feed.target, 0, 0)
        self._sent = 0

    def warm_up(self, records: int) -> None:
        self._fill(records)
        self._until_out(START_SECONDS + RUN_SECONDS)

    def latency(self, records: int) -> tuple[float, float]:
        """(p50, p99) in milliseconds, one record at a time, LIGHT_RECORDS_PER_SECOND; each must come out as it went in."""
        self._consumer.assign([TopicPartition(self._feed.target, 0, self._sent)])
        found = []
        for _ in range(records + records // 10):
            next_at = time.perf_counter() + 1 / LIGHT_RECORDS_PER_SECOND
            key, value, headers = self._feed.record(self._sent)
            self._sent += 1
            begun = time.perf_counter()
            self._producer.produce(self._feed.source, value, key, headers=headers, partition=0)
            self._producer.poll(0)
            if self._next() != value:
                raise ValueError(f"{self._feed.target}: a record was changed, lost or repeated")
            found.append((time.perf_counter() - begun) * 1e3)
            while (left := next_at - time.perf_counter()) > 0:
                time.sleep(left)
        self._consumer.unassign()
        found = found[records // 10 :]
        return statistics.median(found), statistics.quantiles(found, n=100)[98]

    def throughput(self, records: int, candidate: int, also: Sequence[int] = ()) -> tuple[float, float]:
        """(records a second, CPU microseconds a record) of process `candidate`; `also`: what belongs to it."""
        processes = (candidate, *also)
        stop(processes)
        self._fill(records)
        cpu, begun = cpu_seconds(candidate), time.perf_counter()
        go_on(processes)
        self._until_out(RUN_SECONDS)
        wall, cpu = time.perf_counter() - begun, cpu_seconds(candidate) - cpu
        return records / wall, cpu / records * 1e6

    def _fill(self, records: int) -> None:
        for number in range(self._sent, self._sent + records):
            key, value, headers = self._feed.record(number)
            self._producer.produce(self._feed.source, value, key, headers=headers, partition=0)
            if number % 1000 == 0:
                self._producer.poll(0)
        self._sent += records
        if self._producer.flush(60):
            raise TimeoutError(f"{self._feed.source} could not be filled")

    def _until_out(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        look = partial(self._consumer.get_watermark_offsets, self._place, cached=False)
        while (out := retrying(look)[1]) < self._sent:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{self._feed.target}: {out} of {self._sent} records within {seconds:.0f} s")
            time.sleep(LOOK_SECONDS)

    def _next(self) -> bytes | None:
        ends_at = time.monotonic() + RUN_SECONDS
        while time.monotonic() < ends_at:
            message = self._consumer.poll(0.2)
            if message is not None and message.error() is None:
                return message.value()
        raise TimeoutError(f"{self._feed.target}: no record within {RUN_SECONDS:.0f} s")

    def close(self) -> None:
        self._consumer.close()
        self._producer.flush(5)
