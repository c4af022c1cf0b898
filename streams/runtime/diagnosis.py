"""What of a cluster, and of a pipeline on it, is not as Descant needs it, and how to mend each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from streams.core.plan import REQUEST, Plan
from streams.errors import BrokerError
from streams.runtime.cluster_checks import Finding, check_brokers
from streams.runtime.consumer import retrying
from streams.runtime.pipeline_checks import check_clocks, check_partitions, check_plan, check_transactions
from streams.runtime.process import roles_of
from streams.runtime.topic_states import topic_states
from streams.runtime.topics import group_of, models_of, prompts_topic, requests_topic, topics_of
from streams.settings import KafkaSettings, PipelineSettings

SECONDS_MAX: Final = 15.0


def diagnose_cluster(kafka: KafkaSettings, settings: PipelineSettings) -> Iterator[Finding]:
    """Brokers and their settings. Raises BrokerError when no broker answers."""
    admin = AdminClient(kafka.client())
    try:
        nodes = admin.describe_cluster(request_timeout=SECONDS_MAX).result().nodes
        config = _broker_config(admin, nodes[0].id)
    except KafkaException as error:
        raise BrokerError(
            f"no Kafka answers at {kafka.bootstrap} ({error.args[0].str()}). Is the address right, and is it up?",
            code="broker.away",
        ) from None
    yield Finding("cluster", "ok", f"{len(nodes)} broker{'s' * (len(nodes) > 1)} at {kafka.bootstrap}")
    yield from check_brokers(config, settings, len(nodes))


def diagnose_pipeline(kafka: KafkaSettings, settings: PipelineSettings, plan: Plan) -> Iterator[Finding]:
    """The pipeline's topics and consumer groups. Raises BrokerError when they cannot be asked for."""
    states = topic_states(kafka, topics_of(plan, settings))
    bad = [state for state in states if state.problem]
    for state in bad:
        yield Finding(
            f"topic {state.name}",
            "problem",
            state.problem or "",
            "`descant topics MODULE:PIPELINE` makes what is missing; a partition count stays while requests are open.",
        )
    if not bad:
        yield Finding("topics", "ok", f"{len(states)} topics are as the settings say")
    yield from check_partitions(kafka, [state.name for state in states if state.partitions])
    yield from check_clocks(kafka, [state.name for state in states if state.partitions])
    yield check_plan(kafka, plan)
    yield check_transactions(kafka, plan)
    admin = AdminClient(kafka.client())
    there = {state.name: state.partitions for state in states}
    groups = {group_of(plan.pipeline, role): _sources(plan, role) for role in roles_of(plan)}
    groups |= {group_of(f"models.{model}", "workers"): [prompts_topic(model)] for model in models_of(plan)}
    try:
        for group, topics in groups.items():
            places = [TopicPartition(t, number) for t in topics for number in range(there.get(t, 0))]
            yield _group(admin, group, places)
    except KafkaException as error:
        raise BrokerError(f"cannot look at the groups of {kafka.bootstrap}: {error.args[0].str()}") from None


def _sources(plan: Plan, role: str) -> list[str]:
    if role == "ingress":
        return [requests_topic(plan.pipeline)]
    if role == "closer":
        return [plan.topic(REQUEST), plan.topic(plan.answer)]
    return [plan.topic(source) for source in plan[role].sources]


def _group(admin: AdminClient, group: str, places: list[TopicPartition]) -> Finding:
    # A broker that has just started makes the groups' own topic first, and asks for patience meanwhile.
    ends_at = time.monotonic() + SECONDS_MAX

    def describe() -> Any:
        return admin.describe_consumer_groups([group], request_timeout=SECONDS_MAX)[group].result()

    described = retrying(describe, still=lambda: time.monotonic() < ends_at)
    owned = {(p.topic, p.partition) for m in described.members for p in m.assignment.topic_partitions}
    free = [p for p in places if (p.topic, p.partition) not in owned]
    lag = _lag(admin, group, places)
    said = f"{len(described.members)} member(s), {lag} records above what is committed"
    if not described.members:
        start = "descant worker" if group.startswith("models.") else "descant run MODULE:PIPELINE"
        return Finding(f"group {group}", "problem", "nobody runs it", f"Start it: `{start}`.")
    if free:
        return Finding(
            f"group {group}",
            "problem",
            f"{said}; {len(free)} of {len(places)} partitions have no owner",
            "Right after a start or a kill wait for the session timeout. If it stays so, look at the members' logs for "
            "`slot incomplete`, and at the broker's for `Failed to load metadata` of its __consumer_offsets.",
        )
    return Finding(f"group {group}", "ok", said)


def _lag(admin: AdminClient, group: str, places: list[TopicPartition]) -> int:
    """Records above the committed offsets: of open requests, and whatever lies between them."""
    if not places:
        return 0
    asked = admin.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, places)], request_timeout=SECONDS_MAX
    )[group]
    committed = {(p.topic, p.partition): p.offset for p in asked.result().topic_partitions}
    ends = admin.list_offsets({p: _latest() for p in places}, request_timeout=SECONDS_MAX)
    return sum(
        max(0, future.result().offset - max(0, committed.get((p.topic, p.partition), 0))) for p, future in ends.items()
    )


def _latest() -> Any:
    return OffsetSpec.latest()  # type: ignore[no-untyped-call]


def _broker_config(admin: AdminClient, node: int) -> dict[str, str]:
    resource = ConfigResource(ResourceType.BROKER, str(node))
    found: Mapping[str, Any] = admin.describe_configs([resource], request_timeout=SECONDS_MAX)[resource].result()
    return {name: entry.value for name, entry in found.items() if entry.value is not None}
