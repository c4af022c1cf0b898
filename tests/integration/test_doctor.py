"""`descant doctor` on a real Kafka, with and without a pipeline that runs."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time

import pytest
from confluent_kafka import Producer

from streams.broker import EmbeddedKafka, Listener
from streams.broker.ports import free_port
from streams.core.plan import Plan
from streams.runtime.cluster_checks import Finding
from streams.runtime.diagnosis import diagnose_cluster, diagnose_pipeline
from streams.runtime.pipeline_checks import check_clocks, check_transactions
from streams.runtime.topics import control_topic, ensure_topics, state_topic, topics_of
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests
from tests.integration.pipelines import fan_out
from tests.integration.test_pipelines import SETTINGS, running

pytestmark = pytest.mark.integration


def test_our_own_broker_has_no_problem(kafka: KafkaForTests) -> None:
    found = {f.check: f for f in diagnose_cluster(KafkaSettings(bootstrap=kafka.bootstrap), PipelineSettings())}
    assert {f.status for f in found.values()} == {"ok", "warning"}
    assert found["replication"].status == "warning"  # it is one broker
    assert found["session timeout"].status == "ok"


def test_a_session_timeout_that_the_broker_refuses_is_told_with_the_setting(kafka: KafkaForTests) -> None:
    asked = PipelineSettings(session_seconds=2.0)
    found = {f.check: f for f in diagnose_cluster(KafkaSettings(bootstrap=kafka.bootstrap), asked)}
    assert found["session timeout"].status == "warning"
    assert "group.consumer.min.session.timeout.ms=2000" in found["session timeout"].fix


async def test_a_pipeline_is_well_while_it_runs_and_not_before_or_after(kafka: KafkaForTests) -> None:
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    stranger = fan_out(kafka.unique("nobody"))
    found = list(diagnose_pipeline(settings, SETTINGS, stranger.plan))
    assert {f.said for f in found if f.check.startswith("topic ")} == {"missing"}
    async with running(kafka, fan_out) as (pipeline, _):
        found = await asyncio.to_thread(lambda: list(diagnose_pipeline(settings, SETTINGS, pipeline.plan)))
        assert [f for f in found if f.status != "ok"] == []
    found = list(diagnose_pipeline(settings, SETTINGS, pipeline.plan))
    assert {f.said for f in found if f.check.startswith("group ")} == {"nobody runs it"}


WRONG = {
    "group.coordinator.rebalance.protocols": "classic",
    "group.consumer.assignors": "uniform",
    "group.consumer.min.session.timeout.ms": "45000",
    "group.consumer.session.timeout.ms": "45000",
    "group.consumer.min.heartbeat.interval.ms": "5000",
    "group.consumer.heartbeat.interval.ms": "5000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
    "unclean.leader.election.enable": "true",
    "auto.create.topics.enable": "true",
    "offsets.retention.minutes": "60",
}
"""Of a broker, each against what Descant needs."""

SAYS = {
    "group protocol": ("problem", "group.coordinator.rebalance.protocols=classic,consumer"),
    "assignor": ("problem", "group.consumer.assignors=range,uniform"),
    "session timeout": ("warning", "group.consumer.min.session.timeout.ms=6000"),
    "transaction sweep": ("warning", "cleanup.interval.ms=1000"),
    "unclean election": ("problem", "unclean.leader.election.enable=false"),
    "topic creation": ("warning", "auto.create.topics.enable=false"),
    "offset retention": ("problem", "offsets.retention.minutes=1440"),
    "replication": ("problem", "DESCANT_REPLICATION=1"),
}


def test_each_wrong_setting_of_a_cluster_is_told_with_what_mends_it() -> None:
    with EmbeddedKafka(listener=Listener(free_port(), "PLAINTEXT", {}, WRONG)) as broker:
        asked = PipelineSettings(replication=3)
        found = {f.check: f for f in diagnose_cluster(KafkaSettings(bootstrap=broker.bootstrap), asked)}
    assert found["version"].status == "ok"
    assert "4.1 or newer" in found["version"].said
    for check, (status, fix) in SAYS.items():
        assert (found[check].status, fix in found[check].fix) == (status, True), found[check]


async def test_a_clock_that_is_off_and_another_flow_are_told(kafka: KafkaForTests) -> None:
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    name = kafka.unique("clocks")
    pipeline = fan_out(name)
    ensure_topics(settings, [*topics_of(pipeline.plan, SETTINGS).values(), state_topic(SETTINGS)])
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    headers: list[tuple[str, str | bytes | None]] = [("plan", b"another")]
    producer.produce(f"{name}.accepted", b"{}", "r1", headers=headers)
    assert producer.flush(30) == 0
    ends_at = time.monotonic() + 20

    def speak() -> None:
        while time.monotonic() < ends_at and not has_listened.is_set():
            state = {"worker": f"{name}-late", "ts": time.time() - 3}
            producer.produce("workers.state", json.dumps(state), f"{name}-late")
            producer.flush(5)
            time.sleep(0.1)

    has_listened = threading.Event()
    speaking = threading.Thread(target=speak)
    speaking.start()
    try:
        found = {f.check: f for f in await asyncio.to_thread(_pipeline_findings, settings, pipeline.plan)}
    finally:
        has_listened.set()
        speaking.join()
    assert found[f"clock of {name}-late"].status == "problem"
    assert "3.0 s behind" in found[f"clock of {name}-late"].said
    assert "chrony" in found[f"clock of {name}-late"].fix
    assert found["flow"].status == "problem"
    assert "another shape of the flow" in found["flow"].said


def test_a_record_from_the_future_is_a_clock_of_the_brokers_that_is_ahead(kafka: KafkaForTests) -> None:
    name = kafka.unique("future")
    kafka.create_topics(name)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(name, b"x", timestamp=int((time.time() + 900) * 1000))
    assert producer.flush(30) == 0
    found = {f.check: f for f in check_clocks(KafkaSettings(bootstrap=kafka.bootstrap), [name])}
    assert found["clock of the brokers"].status == "problem"
    ahead = re.search(r"appended ([\d.]+) s", found["clock of the brokers"].said)
    assert ahead is not None
    assert 600 < float(ahead[1]) <= 900  # less what has passed since


def _pipeline_findings(settings: KafkaSettings, plan: Plan) -> list[Finding]:
    return list(diagnose_pipeline(settings, SETTINGS, plan))


def test_a_transaction_that_nobody_ends_is_told(kafka: KafkaForTests) -> None:
    settings, plan = KafkaSettings(bootstrap=kafka.bootstrap), fan_out(kafka.unique("hanging")).plan
    ensure_topics(settings, topics_of(plan, SETTINGS).values())
    assert check_transactions(settings, plan).status == "ok"
    topic = control_topic(plan.pipeline)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": kafka.unique("writer")})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"", partition=1)
    assert producer.flush(20) == 0
    found = check_transactions(settings, plan, seconds=0.5)
    assert (found.status, f"{topic} 1 " in found.said) == ("problem", True)
    producer.abort_transaction(20)
    assert check_transactions(settings, plan).status == "ok"
