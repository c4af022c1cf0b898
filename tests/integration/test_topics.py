"""Topics on a real Kafka: created once, and compared with what a plan needs."""

import time

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]  # re-exported without saying so
from confluent_kafka.cimpl import NewTopic

from streams.errors import ConfigError
from streams.runtime.topic_states import topic_states
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests

pytestmark = pytest.mark.integration


def test_topics_are_missing_then_as_wanted_then_different(kafka: KafkaForTests) -> None:
    name = kafka.unique("topic")
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    wanted = {name: NewTopic(name, 2, 1, config={"retention.ms": "3600000"})}
    assert [(s.name, s.partitions, s.problem) for s in topic_states(settings, wanted)] == [(name, 0, "missing")]

    for _ in range(2):  # safe to repeat
        ensure_topics(settings, wanted.values())
        assert [(s.name, s.partitions, s.problem) for s in topic_states(settings, wanted)] == [(name, 2, None)]

    other = {name: NewTopic(name, 3, 1, config={"retention.ms": "60000"})}
    (state,) = topic_states(settings, other)
    assert state.problem == ("has 2 partitions, the settings say 3; retention.ms is 3600000, the settings say 60000")
    with pytest.raises(ConfigError, match="has 2 partitions"):
        ensure_topics(settings, other.values())


def test_partitions_that_were_added_stop_whoever_starts_after_that(kafka: KafkaForTests) -> None:
    name = kafka.unique("grown")
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    wanted = [NewTopic(name, 2, 1)]
    ensure_topics(settings, wanted)
    admin = AdminClient(settings.client())
    admin.create_partitions([NewPartitions(name, 3)])[name].result()
    ends_at = time.monotonic() + 30
    while len(admin.list_topics(name, timeout=10).topics[name].partitions) < 3:  # the broker learns it a moment later
        assert time.monotonic() < ends_at
    with pytest.raises(ConfigError, match="has 3 partitions, the settings say 2") as refused:
        ensure_topics(settings, wanted)
    assert refused.value.code == "config.partitions"
