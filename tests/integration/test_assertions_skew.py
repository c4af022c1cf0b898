"""Partitions that do not keep step: the log never says that a time is over of which records are still to be read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from assertions import Registry, assertion, consistency
from assertions.core.fold import Fold
from assertions.core.log import Batch, Routed, decode_batch
from assertions.judging import Judge
from assertions.processor import intake as processor_intake
from assertions.processor.intake import Intake
from assertions.processor.ranges import read_range
from assertions.processor.topics import group_topics, log_topic
from streams.core.lineage import Serial
from streams.runtime.offsets import OffsetLookup
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from tests.integration.pipeline_records import PipelineRecords

pytestmark = pytest.mark.integration

HELD_SECONDS = 4.0
"""Longer than the lateness of `same`, and than the second that a silent pipeline's watermark is behind the clock."""
LATENESS = 1.0


class Hold:
    """Makes consumers that get nothing of one partition for a while, as from a broker that is slow."""

    def __init__(self, topic: str, partition: int, *, at_end: bool) -> None:
        """at_end: from when it was read to its end; else from the assignment."""
        self._at = TopicPartition(topic, partition)
        self._at_end = at_end
        self._until = 0.0
        self._is_over = False
        self.begun: Final = threading.Event()

    def look(self, consumer: Consumer, message: Message | None) -> None:
        if not self.begun.is_set() and self._begins(consumer, message):
            consumer.pause([self._at])
            self._until = time.monotonic() + HELD_SECONDS
            self.begun.set()
        elif self.begun.is_set() and not self._is_over and time.monotonic() > self._until:
            consumer.resume([self._at])
            self._is_over = True

    def _begins(self, consumer: Consumer, message: Message | None) -> bool:
        if not self._at_end:
            return bool(consumer.assignment())
        return message is not None and (message.topic(), message.partition()) == (self._at.topic, self._at.partition)

    def consumer(self, config: dict[str, Any]) -> Consumer:
        hold = self

        class Holding(Consumer):
            def poll(self, *args: Any, **more: Any) -> Message | None:
                if not hold._at_end:
                    hold.look(self, None)
                message = super().poll(*args, **more)
                if hold._at_end:
                    hold.look(self, message)
                return message

            def consume(self, *_: Any, **__: Any) -> list[Message]:
                return []

        return Holding(config)


class Log:
    """What an intake has written."""

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        self._settings, self._topic = settings, log_topic(group)
        self._ends = OffsetLookup(settings)

    def batches(self) -> list[Batch]:
        end = self._ends.end((self._topic, 0))
        records = read_range(self._settings, self._topic, 0, 0, end)
        return [decode_batch(value) for batch in records for _, value in batch]

    def until(self, count: int, seconds: float = 60.0) -> list[Batch]:
        """Until it holds so many observations."""
        ends_at = time.monotonic() + seconds
        while True:
            found = self.batches()
            if sum(isinstance(event, Routed) for batch in found for event in batch.events) >= count:
                return found
            assert time.monotonic() < ends_at, found
            time.sleep(0.2)


@contextmanager
def running(settings: KafkaSettings, group: str, registry: Registry) -> Iterator[Log]:
    ensure_topics(settings, group_topics(group, 1))
    intake = Intake(settings, group, registry, 1)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            intake.run()
        except BaseException as error:  # noqa: BLE001 the thread's, told below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Log(settings, group)
    finally:
        intake.stop()
        thread.join(30)
    assert not failed


def two_capitals(name: str) -> Registry:
    registry = Registry()
    consistency(
        on=f"{name}.verdict",
        name="same",
        id=lambda v: v["entity"],
        attrs=lambda v: {"value": v["value"]},
        within=30.0,
        lateness=LATENESS,
        registry=registry,
    )
    return registry


def test_what_a_slow_partition_holds_is_not_late(kafka: KafkaForTests, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when processors start on a loaded machine: a watermark that followed the clock, or the partition that came
    first, left out what came last, and two answers that contradict each other raised nothing."""
    pipeline, group = PipelineRecords(kafka, "verdict"), kafka.unique("group")
    registry = two_capitals(pipeline.name)
    serials: dict[str, Serial] = {}
    while len({s.partition for s in serials.values()}) < 2:
        request = f"r{len(serials)}"
        serials[request] = pipeline.serial(request)
    for n, (request, serial) in enumerate(serials.items()):
        pipeline.item("verdict", serial, request, {"entity": "Bolivia", "value": n})
    pipeline.flush()
    slow = list(serials.values())[-1].partition
    hold = Hold(f"{pipeline.name}.verdict", slow, at_end=False)
    monkeypatch.setattr(processor_intake, "Consumer", hold.consumer)
    with running(KafkaSettings(bootstrap=kafka.bootstrap), group, registry) as log:
        time.sleep(HELD_SECONDS / 2)
        other = next(request for request, s in serials.items() if s.partition != slow)
        pipeline.item("verdict", serials[other], other, {"entity": "Peru", "value": 0}, path=(1,))
        pipeline.flush()
        found = log.until(len(serials) + 1)
    fold = Fold(registry, judge := Judge())
    flags = [flag for offset, batch in enumerate(found) for flag in fold.take(offset, batch, 0.0)]
    judge.close()
    assert fold.engine.evaluators["same"].health.late == 0
    assert {flag.subject for flag in flags} == set(serials)


def test_an_answer_waits_for_what_it_rests_on(kafka: KafkaForTests, monkeypatch: pytest.MonkeyPatch) -> None:
    """A join of which one side comes late is not there yet when its answer is read."""
    pipeline, group = PipelineRecords(kafka, "draft", "verdict"), kafka.unique("group")
    registry = Registry()

    @assertion(on=(f"{pipeline.name}.draft", f"{pipeline.name}.verdict"), registry=registry)
    def disagree(draft: str, verdict: str) -> bool:
        return draft != verdict

    serial = pipeline.serial("r0")
    hold = Hold(f"{pipeline.name}.draft", serial.partition, at_end=True)
    monkeypatch.setattr(processor_intake, "Consumer", hold.consumer)
    with running(KafkaSettings(bootstrap=kafka.bootstrap), group, registry) as log:
        assert hold.begun.wait(60)
        pipeline.item("draft", serial, "r0", "Sucre")
        pipeline.item("verdict", serial, "r0", "La Paz")
        pipeline.answer("verdict", serial, "r0")
        pipeline.flush()
        found = log.until(1)
    assert [type(event).__name__ for batch in found for event in batch.events][:1] == ["Routed"]
