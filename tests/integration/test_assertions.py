"""Flags from records on real Kafka: processors as processes, killed and restarted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from assertions import Flag, FlagState, alerts
from assertions.processor.runner import ensure_shared
from assertions.processor.topics import FLAGS
from streams.broker.ports import free_port
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from tests.integration.pipeline_records import PipelineRecords

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
SECONDS_MAX = 60.0


@contextmanager
def processor(kafka: KafkaForTests, pipeline: str, group: str, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "WATCHED_PIPELINE": pipeline, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}
    command = [sys.executable, "-m", "assertions", "run", "tests.integration.watched", "--group", group, *more]
    running = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


class FlagsOf:
    """All records on the flags topic of one pipeline, from the beginning."""

    def __init__(self, kafka: KafkaForTests, pipeline: str) -> None:
        ensure_shared(KafkaSettings(bootstrap=kafka.bootstrap))
        self._consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "test"})
        ends_at = time.monotonic() + SECONDS_MAX
        while not (known := self._consumer.list_topics(FLAGS).topics[FLAGS].partitions):
            assert time.monotonic() < ends_at
        self._consumer.assign([TopicPartition(FLAGS, p, OFFSET_BEGINNING) for p in known])
        self._pipeline = pipeline
        self.records: list[Flag] = []

    def until(self, reached: Callable[[list[Flag]], bool], seconds: float = SECONDS_MAX) -> list[Flag]:
        ends_at = time.monotonic() + seconds
        while not reached(self.records):
            assert time.monotonic() < ends_at, Counter((f.assertion, f.state.value) for f in self.records)
            for message in self._consumer.consume(500, 0.1):
                assert message.error() is None
                flag = Flag.from_bytes(message.value() or b"")
                if flag.pipeline == self._pipeline:
                    self.records.append(flag)
        return self.records

    def close(self) -> None:
        self._consumer.close()


def newest(records: list[Flag]) -> dict[str, Flag]:
    return {flag.id: flag for flag in records}


def standing(records: list[Flag], assertion: str) -> set[str]:
    return {f.subject for f in newest(records).values() if f.assertion == assertion and f.state is FlagState.STANDING}


def verdict(n: int) -> dict[str, object]:
    return {"n": n, "entity": f"e{n % 10}", "value": n % 2 if n < 20 else 0, "doubt": n % 3, "divisor": n % 4 or 1}


def test_flags_of_a_pipeline_are_raised_stand_and_are_withdrawn(kafka: KafkaForTests) -> None:
    pipeline = PipelineRecords(kafka, "verdict")
    flags = FlagsOf(kafka, pipeline.name)
    with processor(kafka, pipeline.name, kafka.unique("group")):
        first, second = pipeline.serial("first"), pipeline.serial("second")
        pipeline.item("verdict", first, "first", {**verdict(2), "divisor": 0})
        pipeline.item("verdict", second, "second", {**verdict(12), "value": 7})
        pipeline.flush()
        seen = flags.until(lambda f: len({(x.assertion, x.subject) for x in f}) >= 3)
        assert {(f.assertion, f.subject) for f in seen} == {
            ("unsure", "first"),
            ("same_value", "first"),
            ("same_value", "second"),
        }
        assert {f.state for f in seen} == {FlagState.PROVISIONAL}

        # Another run of the second request's stage outranks the first one and agrees with the first request.
        pipeline.item("verdict", second, "second", {**verdict(12), "value": 0}, n=2)
        pipeline.flush()
        flags.until(
            lambda f: all(x.state is FlagState.WITHDRAWN for x in newest(f).values() if x.assertion == "same_value")
        )

        pipeline.answer("verdict", first, "first")
        pipeline.answer("verdict", second, "second", n=2)
        pipeline.flush()
        flags.until(lambda f: standing(f, "unsure") == {"first"})
    flags.close()


def test_a_killed_processor_loses_no_flag_and_doubles_none(kafka: KafkaForTests) -> None:
    pipeline = PipelineRecords(kafka, "verdict")
    flags = FlagsOf(kafka, pipeline.name)
    group = kafka.unique("group")
    count = 600

    def write(numbers: range) -> None:
        for n in numbers:
            serial = pipeline.serial(f"r{n}")
            pipeline.item("verdict", serial, f"r{n}", verdict(n))
            pipeline.answer("verdict", serial, f"r{n}")
        pipeline.flush()

    with processor(kafka, pipeline.name, group) as first:
        write(range(200))
        flags.until(lambda f: len(standing(f, "unsure")) > 20)
        write(range(200, 400))
        first.send_signal(signal.SIGKILL)
        first.wait()
    with processor(kafka, pipeline.name, group) as second:
        flags.until(lambda f: len(standing(f, "unsure")) > 180)
        write(range(400, 500))
        second.send_signal(signal.SIGKILL)
        second.wait()
    with processor(kafka, pipeline.name, group):
        write(range(500, count))
        expected = {f"r{n}" for n in range(count) if n % 3}
        flags.until(lambda f: standing(f, "unsure") == expected, 90)
        contradicted = {f"r{n}" for n in range(count)} & standing(flags.records, "same_value")
        assert contradicted <= {f"r{n}" for n in range(count)}
    states = Counter((f.id, f.state) for f in flags.records if f.assertion == "unsure")
    assert {pair: n for pair, n in states.items() if n > 1} == {}, "a flag was written twice in one state"
    revisions = Counter((f.id, f.data.revision) for f in flags.records)
    assert max(revisions.values()) == 1, "two records of one flag have the same revision"
    flags.close()


def test_a_range_of_the_topic_gives_the_flags_of_the_live_run(kafka: KafkaForTests) -> None:
    pipeline = PipelineRecords(kafka, "verdict")
    flags = FlagsOf(kafka, pipeline.name)
    with processor(kafka, pipeline.name, kafka.unique("group")):
        for n in range(60):
            serial = pipeline.serial(f"r{n}")
            pipeline.item("verdict", serial, f"r{n}", verdict(n))
            if n < 50:
                pipeline.answer("verdict", serial, f"r{n}")
        pipeline.flush()
        expected = {f"r{n}" for n in range(50) if n % 3}
        flags.until(lambda f: standing(f, "unsure") == expected, 90)
    command = [sys.executable, "-m", "assertions", "test", "--module", "tests.integration.watched", "--json"]
    environment = {**os.environ, "WATCHED_PIPELINE": pipeline.name, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap}
    options = ["--topic", f"{pipeline.name}.verdict", "--since", "beginning", "--name", "unsure"]
    done = subprocess.run([*command, *options], cwd=ROOT, env=environment, capture_output=True, check=True)
    again = json.loads(done.stdout)
    assert again["observations"] == 50
    assert b"10 requests without an answer" in done.stderr
    live = {f.id for f in newest(flags.records).values() if f.assertion == "unsure" and f.state is FlagState.STANDING}
    assert {flag["id"] for flag in again["flags"]} == live
    flags.close()


def test_processors_share_the_judging_and_take_over_from_each_other(kafka: KafkaForTests) -> None:
    pipeline = PipelineRecords(kafka, "verdict")
    flags = FlagsOf(kafka, pipeline.name)
    group = kafka.unique("group")

    def write(numbers: range) -> None:
        for n in numbers:
            serial = pipeline.serial(f"r{n}")
            pipeline.item("verdict", serial, f"r{n}", verdict(n))
            pipeline.answer("verdict", serial, f"r{n}")
        pipeline.flush()

    def stand(count: int) -> None:
        flags.until(lambda f: standing(f, "unsure") == {f"r{n}" for n in range(count) if n % 3}, 90)

    with processor(kafka, pipeline.name, group):
        write(range(100))
        stand(100)
        with processor(kafka, pipeline.name, group, "--no-intake"):
            write(range(100, 200))
            stand(200)
        write(range(200, 300))
        stand(300)
    stood = Counter(f.id for f in flags.records if f.state is FlagState.STANDING)
    assert {each: n for each, n in stood.items() if n > 1} == {}
    flags.close()


def test_a_broken_assertion_is_reported_and_stops_nobody(kafka: KafkaForTests) -> None:
    pipeline = PipelineRecords(kafka, "verdict")
    flags = FlagsOf(kafka, pipeline.name)
    port = free_port()
    with processor(kafka, pipeline.name, kafka.unique("group"), "--metrics", str(port)):
        for n in range(20):
            pipeline.item("verdict", pipeline.serial(f"r{n}"), f"r{n}", {**verdict(n), "divisor": 0})
        pipeline.flush()
        flags.until(lambda f: len({x.subject for x in f if x.assertion == "unsure"}) == 13)
        command = [sys.executable, "-m", "assertions", "list", "tests.integration.watched", "--json"]
        environment = {**os.environ, "WATCHED_PIPELINE": pipeline.name}
        ends_at = time.monotonic() + SECONDS_MAX
        while True:
            listed = subprocess.run(
                [*command, "--bootstrap", kafka.bootstrap], cwd=ROOT, env=environment, capture_output=True, check=True
            )
            health = {row["name"]: row["health"] for row in json.loads(listed.stdout)}
            if health["fragile"] and health["fragile"]["errors"].get("raised") == 20:
                break
            assert time.monotonic() < ends_at, health
        assert health["fragile"]["state"] == "broken"
        assert "ZeroDivisionError" in health["fragile"]["last_error"]
        assert health["unsure"]["state"] == "healthy"
        scraped = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        assert 'descant_assertion_state{assertion="fragile",state="broken"} 1.0' in scraped
        assert 'descant_assertion_errors_total{assertion="fragile",fault="raised"} 20.0' in scraped
        assert 'descant_assertion_fired_total{assertion="unsure"} 13.0' in scraped
        assert 'descant_flags_total{assertion="unsure",state="provisional"} 13.0' in scraped
    flags.close()


async def test_alerts_come_at_once_and_resume_where_they_stopped(kafka: KafkaForTests) -> None:
    from confluent_kafka import Producer

    from assertions import Observation, Registry, assertion, evaluate

    registry = Registry()
    name = kafka.unique("pipe")

    @assertion(on=f"{name}.s", registry=registry)
    def doubtful(value: float) -> float:
        return value

    ensure_shared(KafkaSettings(bootstrap=kafka.bootstrap))
    raised = evaluate(
        registry,
        [
            Observation(pipeline=name, stages=("s",), values=(n / 10,), serial=f"0:{n}", path="", time=float(n))
            for n in range(10)
        ],
    ).flags
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for flag in raised:
        producer.produce(FLAGS, flag.to_bytes(), flag.subject)
        producer.produce(FLAGS, flag.to_bytes(), flag.subject)
    producer.flush()

    resume = kafka.unique("reader")
    subscription = alerts(kafka.bootstrap, pipeline=name, min_severity=0.3, since="beginning", resume=resume)
    first: list[Flag] = []
    async for flag in subscription:
        first.append(flag)
        if len(first) == 4:
            break
    rest: list[Flag] = []
    async for flag in alerts(kafka.bootstrap, pipeline=name, min_severity=0.3, since="beginning", resume=resume):
        rest.append(flag)
        if {f.id for f in first + rest} == {f.id for f in raised if f.severity >= 0.3}:
            break
    assert len({f.id for f in first}) == 4
    assert sum(subscription.held_back.repeated.values()) <= 4
    assert len(rest) < 7, "the resumed subscription started again from the beginning"


async def test_a_resumed_subscription_knows_what_it_has_delivered(kafka: KafkaForTests) -> None:
    from confluent_kafka import Producer

    from assertions import Observation, Registry, assertion, evaluate

    registry, name, resume = Registry(), kafka.unique("pipe"), kafka.unique("reader")
    assertion(on=f"{name}.s", name="any", registry=registry)(lambda value: value)
    ensure_shared(KafkaSettings(bootstrap=kafka.bootstrap))
    made = evaluate(
        registry,
        [
            Observation(pipeline=name, stages=("s",), values=(n + 1,), serial=f"0:{n}", path="", time=float(n))
            for n in range(3)
        ],
    ).flags
    producer = Producer({"bootstrap.servers": kafka.bootstrap})

    def write(flag: Flag, state: FlagState) -> None:
        written = flag.model_copy(update={"data": flag.data.model_copy(update={"state": state})})
        producer.produce(FLAGS, written.to_bytes(), flag.subject, partition=0)
        producer.flush()

    async def next_ones(count: int) -> list[tuple[str, FlagState]]:
        found: list[tuple[str, FlagState]] = []
        async for flag in alerts(kafka.bootstrap, pipeline=name, since="beginning", resume=resume):
            if len(found) == count:  # the ones before this are done with
                break
            found.append((flag.id, flag.state))
        return found

    stands, gone, news = made
    write(stands, FlagState.PROVISIONAL)
    write(gone, FlagState.PROVISIONAL)
    write(news, FlagState.PROVISIONAL)
    assert await next_ones(2) == [(stands.id, FlagState.PROVISIONAL), (gone.id, FlagState.PROVISIONAL)]
    write(stands, FlagState.STANDING)
    write(gone, FlagState.WITHDRAWN)
    write(made[0].model_copy(update={"id": "last"}), FlagState.STANDING)
    assert await next_ones(2) == [(news.id, FlagState.PROVISIONAL), (gone.id, FlagState.WITHDRAWN)]
