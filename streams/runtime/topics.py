"""The topics of a plan: created once, with the same partition count for all, and checked ever after (DESIGN §3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Final, cast

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from streams.core.plan import REQUEST, Plan, StageKind
from streams.errors import BrokerError, ConfigError
from streams.runtime.consumer import RETRIABLE
from streams.settings import KafkaSettings, PipelineSettings

AWAY_SECONDS: Final = 60.0
"""How long a process that starts waits for a broker that is away."""

ADMIN_SECONDS: Final = 30.0
SET_UP_SECONDS: Final = 2 * AWAY_SECONDS + 4 * ADMIN_SECONDS
"""Of all that is done here before a process may start; each step has its own limit and its own error."""
TRY_SECONDS: Final = 5.0
"""Of the above: longest wait of one client before another one tries."""
RETRY_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)

LARGE_RECORD_BYTES: Final = 16 * 1024 * 1024
"""Of topics that take what clients send, so that a request that is too large still gets its typed error."""

DEAD_LETTER_ROOM_BYTES: Final = 512 * 1024
"""For the reason, beside the largest record that can have come; a producer of ours takes a little more."""


def requests_topic(pipeline: str) -> str:
    return f"{pipeline}.requests"


def answers_topic(pipeline: str) -> str:
    return f"{pipeline}.answers"


def control_topic(pipeline: str) -> str:
    return f"{pipeline}.control"


def dead_letters_topic(pipeline: str) -> str:
    return f"{pipeline}.dead-letters"


MODELS: Final = "models"
"""Stands where a pipeline's name does in topics of all pipelines' models."""


def prompts_topic(model: str) -> str:
    return f"{MODELS}.{model}.prompts"


WORKERS_STATE: Final = "workers.state"
"""What workers say of themselves; key: worker id."""


def group_of(pipeline: str, role: str) -> str:
    """The consumer group of a stage, of `ingress` or of `closer`."""
    return f"{pipeline}.{role}"


def models_of(plan: Plan) -> tuple[str, ...]:
    return tuple(sorted({str(s.options["model"]) for s in plan.stages if s.kind is StageKind.MODEL}))


def topics_of(plan: Plan, settings: PipelineSettings) -> dict[str, NewTopic]:
    """Every topic that the plan's processes read or write."""
    name, retention = plan.pipeline, str(settings.retention_hours * 3_600_000)
    internal = {"retention.ms": retention, "message.timestamp.type": "LogAppendTime"}
    from_clients = {"retention.ms": retention, "max.message.bytes": str(LARGE_RECORD_BYTES)}
    letters = {"retention.ms": retention, "max.message.bytes": str(LARGE_RECORD_BYTES + DEAD_LETTER_ROOM_BYTES)}
    wanted: dict[str, Mapping[str, str]] = {
        requests_topic(name): from_clients,
        dead_letters_topic(name): letters,
        plan.topic(REQUEST): internal,
        answers_topic(name): internal,
        control_topic(name): internal,
        **{plan.topic(stage.name): internal for stage in plan.stages},
    }
    topics = {t: _new_topic(t, settings.partitions, settings, config) for t, config in wanted.items()}
    topics.update((t.topic, t) for t in (prompt_topic_of(m, settings) for m in models_of(plan)))
    return topics


def prompt_topic_of(model: str, settings: PipelineSettings) -> NewTopic:
    config = {"retention.ms": str(settings.retention_hours * 3_600_000), "message.timestamp.type": "LogAppendTime"}
    return _new_topic(prompts_topic(model), settings.lanes, settings, config)


def model_dead_letters_topic(settings: PipelineSettings) -> NewTopic:
    """Of records on prompt topics that name no pipeline; one partition for all models."""
    config = {
        "retention.ms": str(settings.retention_hours * 3_600_000),
        "max.message.bytes": str(LARGE_RECORD_BYTES + DEAD_LETTER_ROOM_BYTES),
    }
    return _new_topic(dead_letters_topic(MODELS), 1, settings, config)


def state_topic(settings: PipelineSettings) -> NewTopic:
    config = {"cleanup.policy": "compact", "segment.ms": "600000", "max.message.bytes": "4000000"}
    return _new_topic(WORKERS_STATE, 1, settings, config)


def _new_topic(name: str, partitions: int, settings: PipelineSettings, config: Mapping[str, str]) -> NewTopic:
    own = dict(config)
    if settings.replication >= 3:
        own["min.insync.replicas"] = "2"  # PROTOCOL §9.8: what is acknowledged outlives any one broker
    return NewTopic(name, num_partitions=partitions, replication_factor=settings.replication, config=own)


def ensure_topics(kafka: KafkaSettings, topics: Iterable[NewTopic]) -> None:
    """Create what is missing; safe to call from all processes at once.

    Raises ConfigError when a topic exists with another partition count: records of open requests would split.
    """
    wanted = {t.topic: t for t in topics}
    admin = AdminClient(kafka.client())
    ends_at = time.monotonic() + AWAY_SECONDS
    while True:
        wait_for_kafka(kafka, admin)
        try:
            existing = _create_missing(admin, wanted)
            break
        except KafkaException as error:
            # It may be gone again a moment after it answered: a broker that restarts takes its listeners up early.
            if error.args[0].code() not in RETRIABLE or time.monotonic() > ends_at:
                raise BrokerError(f"cannot set up topics at {kafka.bootstrap}: {error.args[0].str()}") from None
            threading.Event().wait(RETRY_SECONDS)
    for name, topic in wanted.items():
        found = existing.get(name)
        if found is not None and found.partitions and len(found.partitions) != topic.num_partitions:
            raise ConfigError(
                f"topic {name!r} has {len(found.partitions)} partitions, the settings say {topic.num_partitions}. "
                f"If it was made so, set DESCANT_PARTITIONS={len(found.partitions)} (DESCANT_LANES for prompts). If it "
                "was enlarged, open requests are on the old partitions: see docs/guarantees.md before you go on.",
                code="config.partitions",
            )


def _create_missing(admin: AdminClient, wanted: Mapping[str, NewTopic]) -> dict[str, TopicMetadata]:
    """Every topic that there is afterwards."""
    existing = admin.list_topics(timeout=TRY_SECONDS).topics
    missing = [t for name, t in wanted.items() if name not in existing]
    if missing:
        for future in admin.create_topics(missing, operation_timeout=ADMIN_SECONDS).values():
            _ignore_existing(future)
        existing = admin.list_topics(timeout=TRY_SECONDS).topics
    return existing


def wait_for_kafka(kafka: KafkaSettings, admin: AdminClient, seconds_max: float = AWAY_SECONDS) -> None:
    """Return when a broker answers: processes may be started while it restarts.

    Raises BrokerError when none does within `seconds_max`.
    """
    ends_at = time.monotonic() + seconds_max
    is_told = False
    while True:
        try:
            admin.list_topics(timeout=TRY_SECONDS)
        except KafkaException as error:
            if time.monotonic() > ends_at:
                raise BrokerError(
                    f"no Kafka answers at {kafka.bootstrap} ({error.args[0].str()}). Is the address right, and is the "
                    "broker up? `descant broker up` starts one here.",
                    code="broker.away",
                ) from None
            if not is_told:
                log.warning("waiting for Kafka", bootstrap=kafka.bootstrap, seconds_max=seconds_max)
                is_told = True
        else:
            return


def _ignore_existing(future: object) -> None:
    try:
        future.result()  # type: ignore[attr-defined]  # the client's futures are not typed
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def set_session_timeouts(kafka: KafkaSettings, groups: Iterable[str], settings: PipelineSettings) -> None:
    """Ask the coordinator to notice a killed instance after `session_seconds` (KIP-848: the group's own config).

    A broker whose minimum is higher refuses; `descant doctor` says so, the pipeline works all the same.
    """
    values = {
        "consumer.session.timeout.ms": str(int(settings.session_seconds * 1000)),
        "consumer.heartbeat.interval.ms": str(int(settings.session_seconds * 1000 / 4)),
    }
    resources = []
    for group in groups:
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()
        ]
        resources.append(ConfigResource(ResourceType.GROUP, group, incremental_configs=entries))
    ends_at = time.monotonic() + ADMIN_SECONDS
    while (error := _alter(kafka, resources)) is not None:
        if error.code() in (KafkaError.INVALID_CONFIG, KafkaError.INVALID_REQUEST):
            return
        if time.monotonic() > ends_at:
            raise BrokerError(f"cannot set the session timeouts of groups at {kafka.bootstrap}: {error.str()}")
        threading.Event().wait(RETRY_SECONDS)


def _alter(kafka: KafkaSettings, resources: list[ConfigResource]) -> KafkaError | None:
    """One try, with a client of its own: the first error, or None.

    A client that was told of no controller, because the only broker had just missed a heartbeat, does not ask again
    until its metadata expire: four of ten processes that started at once on a busy machine waited 60 s for nothing.
    """
    admin = AdminClient(kafka.client())  # its futures end with it
    for future in admin.incremental_alter_configs(resources, request_timeout=TRY_SECONDS).values():
        try:
            future.result()
        except KafkaException as error:
            return cast("KafkaError", error.args[0])
    return None
