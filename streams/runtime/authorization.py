"""Asks Kafka what this process may do, sets what it may, and says what is missing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from streams.access import Access
from streams.errors import BrokerError
from streams.runtime.consumer import retrying
from streams.runtime.denial import DENIED, denied
from streams.settings import KafkaSettings

ASK_SECONDS: Final = 15.0

OPERATIONS: Final = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "Create": AclOperation.CREATE,
    "AlterConfigs": AclOperation.ALTER_CONFIGS,
}

RESOURCES: Final = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}

log = structlog.get_logger(__name__)


def check_access(kafka: KafkaSettings, needed: Collection[Access]) -> None:
    """Return when topics and groups that are there allow all of it. Kafka answers for no transactional id, and for
    nothing that does not exist yet; where it cannot be asked at all, whatever is missing will say so itself.

    Raises BrokerError, code `broker.denied`, that names everything that is missing.
    """
    try:
        missing = sorted(missing_access(kafka, needed))
    except BrokerError as error:
        log.warning("access not checked", reason=str(error))
        return
    if missing:
        raise denied(kafka, missing)


def missing_access(kafka: KafkaSettings, needed: Collection[Access]) -> set[Access]:
    """Of what is needed, as far as it can be asked. Raises BrokerError when no broker answers."""
    admin = AdminClient(kafka.client())
    topics = sorted({a.name for a in needed if a.resource == "topic" and not a.is_prefix})
    groups = sorted({a.name for a in needed if a.resource == "group" and not a.is_prefix})
    ends_at = time.monotonic() + ASK_SECONDS
    try:
        # A broker that has just started makes the groups' own topic first, and asks for patience meanwhile.
        allowed = retrying(lambda: _allowed(admin, topics, groups), still=lambda: time.monotonic() < ends_at)
    except KafkaException as error:
        raise BrokerError(f"cannot ask {kafka.bootstrap} what this process may do: {error.args[0].str()}") from None
    return {
        each
        for each in needed
        if (known := allowed.get((each.resource, each.name))) is not None and OPERATIONS[each.operation] not in known
    }


def _allowed(
    admin: AdminClient, topics: list[str], groups: list[str]
) -> dict[tuple[str, str], set[AclOperation] | None]:
    described: dict[tuple[str, str], Any] = {}
    if topics:
        asked = admin.describe_topics(
            TopicCollection(topics), include_authorized_operations=True, request_timeout=ASK_SECONDS
        )
        described |= {("topic", name): future for name, future in asked.items()}
    if groups:
        members = admin.describe_consumer_groups(
            groups, include_authorized_operations=True, request_timeout=ASK_SECONDS
        )
        described |= {("group", name): future for name, future in members.items()}
    return {place: _operations(future) for place, future in described.items()}


def _operations(described: Any) -> set[AclOperation] | None:
    """None: it does not exist, or the brokers do not tell."""
    try:
        operations = described.result().authorized_operations
    except KafkaException as error:
        if error.args[0].code() in DENIED:
            return set()
        if error.args[0].code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND):
            return None
        raise
    return set(operations) if operations else None


def set_access(kafka: KafkaSettings, needed: Iterable[Access], principal: str) -> None:
    """Allow it all; what is allowed already stays. Raises BrokerError."""
    bindings = [binding(each, principal) for each in needed]
    admin = AdminClient(kafka.client())  # its futures end with it
    try:
        for future in admin.create_acls(bindings, request_timeout=ASK_SECONDS).values():
            future.result()
    except KafkaException as error:
        raise BrokerError(
            f"cannot set access for {principal}: {error.args[0].str()}. That needs Alter on the cluster, and an "
            "authorizer on the brokers (authorizer.class.name)."
        ) from None


def binding(access: Access, principal: str) -> AclBinding:
    """As the admin client takes it."""
    return AclBinding(
        RESOURCES[access.resource],
        access.name,
        ResourcePatternType.PREFIXED if access.is_prefix else ResourcePatternType.LITERAL,
        principal,
        "*",
        OPERATIONS[access.operation],
        AclPermissionType.ALLOW,
    )
