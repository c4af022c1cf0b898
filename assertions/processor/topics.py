"""The topics of the assertions, and what each is for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # re-exported without saying so

FLAGS: Final = "assertions.flags"
HEALTH: Final = "assertions.health"
DEAD_LETTERS: Final = "assertions.dead-letters"

# Flags are the durable record from an example to a label to a model version: kept for a quarter of a year by default.
FLAGS_RETENTION_MS: Final = 90 * 24 * 3_600_000
# The observation log is read again after a crash and for `descant assertions test --topic`.
LOG_RETENTION_MS: Final = 24 * 3_600_000
# An example that joins several values, each of which may be as large as a record, is one event of the log.
LOG_RECORD_BYTES_MAX: Final = 10_000_000


def log_topic(group: str) -> str:
    """The observation log of one group of processors."""
    return f"assertions.{group}.observations"


def shared_topics(replication: int = 1) -> Iterable[NewTopic]:
    """Made by whoever comes first; any partition count does, since a flag's states share its subject."""
    yield NewTopic(FLAGS, 3, replication, config={"retention.ms": str(FLAGS_RETENTION_MS)})
    yield NewTopic(HEALTH, 1, replication, config={"cleanup.policy": "compact"})
    yield NewTopic(DEAD_LETTERS, 1, replication, config={"retention.ms": str(FLAGS_RETENTION_MS)})


def app_id(group: str) -> str:
    """Of the Faust app, which is also its consumer group."""
    return f"assertions-{group}"


def group_topics(group: str, partitions: int, replication: int = 1) -> Iterable[NewTopic]:
    config = {
        "retention.ms": str(LOG_RETENTION_MS),
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(LOG_RECORD_BYTES_MAX),
    }
    yield NewTopic(log_topic(group), partitions, replication, config=config)
    # Faust makes this one as well, but may start before it is in its metadata, and then the agent dies on its first
    # write (faust-streaming 0.15.3: PartitionsMismatch, "has 0 partitions").
    changelog = f"{app_id(group)}-checkpoints-changelog"
    yield NewTopic(changelog, partitions, replication, config={"cleanup.policy": "compact"})
