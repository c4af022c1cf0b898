"""What brokers' settings mean for Descant, and how to mend each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from streams.settings import PipelineSettings

Status = Literal["ok", "warning", "problem"]

TRANSACTION_SECONDS: Final = 5.0
"""A closer's transaction that is left open ends after this, and the broker's next look."""

SINCE: Final = (
    ("group.streams.min.session.timeout.ms", "4.1"),
    ("share.coordinator.state.topic.replication.factor", "4.0"),
    ("group.coordinator.rebalance.protocols", "3.7"),
    ("controller.quorum.bootstrap.servers", "3.9"),
)
"""(setting, the Apache Kafka that brought it), newest first: brokers do not tell clients their version."""


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    status: Status
    said: str
    fix: str = ""


def check_brokers(config: Mapping[str, str], settings: PipelineSettings, brokers: int) -> Iterator[Finding]:
    """`config`: of one broker, as it describes itself; `brokers`: how many there are."""
    yield _version(config)
    yield _protocol(config)
    yield _assignor(config)
    yield _session(config, settings)
    yield _replication(brokers, settings)
    yield _sweep(config)
    yield from _durability(config, settings, brokers)


def _version(config: Mapping[str, str]) -> Finding:
    least = next((version for setting, version in SINCE if setting in config), None)
    if least is None:
        return Finding(
            "version",
            "problem",
            "by their settings the brokers are older than Apache Kafka 3.7",
            "Use Apache Kafka 4.0 or newer; 4.4 is what is tested.",
        )
    status: Status = "ok" if least >= "4" else "warning"
    fix = "" if status == "ok" else "Use Apache Kafka 4.0 or newer; 4.4 is what is tested."
    return Finding("version", status, f"by their settings the brokers are Apache Kafka {least} or newer", fix)


def _protocol(config: Mapping[str, str]) -> Finding:
    protocols = config.get("group.coordinator.rebalance.protocols", "")
    if "consumer" in protocols:
        return Finding("group protocol", "ok", f"brokers offer {protocols}")
    return Finding(
        "group protocol",
        "problem",
        "the brokers do not offer the consumer group protocol of KIP-848",
        "Use Apache Kafka 4.0 or newer, or set group.coordinator.rebalance.protocols=classic,consumer.",
    )


def _assignor(config: Mapping[str, str]) -> Finding:
    offered = config.get("group.consumer.assignors", "")
    if not offered or "range" in offered.lower():
        return Finding("assignor", "ok", f"brokers offer {offered or 'their defaults'}")
    return Finding(
        "assignor",
        "problem",
        f"the brokers offer {offered}: without `range` a slot's partitions go to several members, no stage starts",
        "Set group.consumer.assignors=range,uniform on the brokers.",
    )


def _session(config: Mapping[str, str], settings: PipelineSettings) -> Finding:
    least = int(config.get("group.consumer.min.session.timeout.ms", 45_000)) / 1000
    if least <= settings.session_seconds:
        return Finding("session timeout", "ok", f"a killed instance is replaced after {settings.session_seconds:g} s")
    return Finding(
        "session timeout",
        "warning",
        f"no session timeout below {least:g} s is allowed: as long a killed instance's partitions have no owner",
        f"Set group.consumer.min.session.timeout.ms={settings.session_seconds * 1000:.0f} and "
        "group.consumer.min.heartbeat.interval.ms=1000 on the brokers.",
    )


def _replication(brokers: int, settings: PipelineSettings) -> Finding:
    if settings.replication > brokers:
        return Finding(
            "replication",
            "problem",
            f"topics are to have {settings.replication} replicas, and there is a broker for {brokers}",
            f"Start {settings.replication} brokers, or set DESCANT_REPLICATION={brokers}.",
        )
    if settings.replication >= 3:
        return Finding("replication", "ok", f"topics are made with {settings.replication} replicas")
    if brokers == 1:
        return Finding(
            "replication", "warning", "one broker: what its disk loses is lost", "Run three brokers in production."
        )
    return Finding(
        "replication",
        "problem",
        f"{brokers} brokers, but topics are made with {settings.replication} replica(s)",
        "Set DESCANT_REPLICATION=3 before the topics are made.",
    )


def _sweep(config: Mapping[str, str]) -> Finding:
    sweep = int(config.get("transaction.abort.timed.out.transaction.cleanup.interval.ms", 10_000)) / 1000
    return Finding(
        "transaction sweep",
        "ok" if sweep <= 1 else "warning",
        f"a transaction that a killed closer left open is aborted after its {TRANSACTION_SECONDS:g} s and at most "
        f"{sweep:g} s more",
        "" if sweep <= 1 else "Set transaction.abort.timed.out.transaction.cleanup.interval.ms=1000 on the brokers.",
    )


def _durability(config: Mapping[str, str], settings: PipelineSettings, brokers: int) -> Iterator[Finding]:
    if config.get("unclean.leader.election.enable") == "true":
        yield Finding(
            "unclean election",
            "problem",
            "a replica that lacks records may become leader: what was acknowledged, answers among it, can vanish",
            "Set unclean.leader.election.enable=false on the brokers.",
        )
    else:
        yield Finding("unclean election", "ok", "only a replica that has everything becomes leader")
    if config.get("auto.create.topics.enable", "true") == "true":
        yield Finding(
            "topic creation",
            "warning",
            "a misspelt topic is made on first use, with the brokers' partition count",
            "Set auto.create.topics.enable=false on the brokers.",
        )
    else:
        yield Finding("topic creation", "ok", "a misspelt topic is an error")
    kept = int(config.get("offsets.retention.minutes", 10_080)) / 60
    if kept < settings.retention_hours:
        yield Finding(
            "offset retention",
            "problem",
            f"offsets of a group that is down are kept {kept:g} h, records {settings.retention_hours} h: after a "
            "longer outage every record is run again",
            f"Set offsets.retention.minutes={settings.retention_hours * 60} or more on the brokers.",
        )
    else:
        yield Finding("offset retention", "ok", f"offsets of a group that is down are kept {kept:g} h")
    replicas = int(config.get("offsets.topic.replication.factor", 3))
    if brokers >= 3 and replicas < 3:
        yield Finding(
            "offsets topic",
            "problem",
            f"__consumer_offsets is made with {replicas} replica(s): the epochs that fence owners are on it",
            "Set offsets.topic.replication.factor=3 and transaction.state.log.replication.factor=3 before first use.",
        )
