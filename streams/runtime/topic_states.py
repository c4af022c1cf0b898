"""How the topics in a cluster compare with those that a plan needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from streams.errors import BrokerError
from streams.runtime.topics import ADMIN_SECONDS
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as it is."""

    name: str
    partitions: int
    """0: it is not there."""
    problem: str | None
    """What is not as the plan needs it; None if nothing is."""


def topic_states(kafka: KafkaSettings, wanted: Mapping[str, NewTopic]) -> list[TopicState]:
    """The state of each wanted topic, sorted by name; changes nothing.

    Raises BrokerError when the cluster does not answer, or may not be asked.
    """
    admin = AdminClient(kafka.client())
    try:
        there = admin.list_topics(timeout=ADMIN_SECONDS).topics
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in wanted if name in there]
        configs = admin.describe_configs(resources, request_timeout=ADMIN_SECONDS) if resources else {}
        found = {
            resource.name: {name: entry.value for name, entry in future.result().items()}
            for resource, future in configs.items()
        }
    except KafkaException as error:
        raise BrokerError(f"cannot look at the topics of {kafka.bootstrap}: {error.args[0].str()}") from None
    return [
        _compare(wanted[name], len(there[name].partitions), found[name])
        if name in there
        else TopicState(name, 0, "missing")
        for name in sorted(wanted)
    ]


def _compare(wanted: NewTopic, partitions: int, config: Mapping[str, str | None]) -> TopicState:
    different = [
        f"{name} is {config.get(name)}, the settings say {value}"
        for name, value in (wanted.config or {}).items()
        if config.get(name) != value
    ]
    if partitions != wanted.num_partitions:
        different.insert(0, f"has {partitions} partitions, the settings say {wanted.num_partitions}")
    return TopicState(wanted.topic, partitions, "; ".join(different) or None)
