"""`descant doctor` on a real Kafka, with and without a pipeline that runs."""

from __future__ import annotations

import asyncio

import pytest

from streams.runtime.diagnosis import diagnose_cluster, diagnose_pipeline
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
