"""The errors of a broker that says no."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from confluent_kafka import KafkaError

from streams.errors import BrokerError
from streams.settings import KafkaSettings

DENIED: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)


REFUSED: Final = (KafkaError._AUTHENTICATION, KafkaError._SSL)
"""Before anything has worked; later a broker that stops cuts handshakes off as well."""


def denied(kafka: KafkaSettings, missing: Iterable[object]) -> BrokerError:
    """The error of a process that may not do what it must."""
    user = kafka.sasl_username or "this client"
    return BrokerError(
        f"{user} may not: {'; '.join(map(str, missing))}. `descant acls MODULE:PIPELINE` says what each process needs, "
        "and with --apply sets it.",
        code="broker.denied",
    )


def refused(kafka: KafkaSettings, error: KafkaError) -> BrokerError:
    """The error of a process whose credentials, or whose broker's certificate, are not accepted."""
    user = kafka.sasl_username or "this client"
    return BrokerError(
        f"{user} cannot connect to Kafka at {kafka.bootstrap} by {kafka.security_protocol}: {error.str()}. Check the "
        "settings DESCANT_KAFKA_*: user, password, mechanism and certificates.",
        code="broker.credentials",
    )
