"""Where the Kafka of a test run comes from."""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.broker import EmbeddedKafka, bootstrap_servers, has_java
from streams.errors import BrokerError, ConfigError

Source = Literal["named", "embedded", "docker"]

ADMIN_SECONDS_MAX = 30.0


class KafkaForTests:
    """A real Kafka that other tests use too."""

    def __init__(self, bootstrap: str, source: Source) -> None:
        self.bootstrap = bootstrap
        self.source = source
        """`named` by KAFKA_BOOTSTRAP_SERVERS, `embedded` as a child process, or in `docker`."""
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})  # it outlives the broker

    def unique(self, prefix: str) -> str:
        """A name for a topic, group or pipeline that no other test, of this run or another, uses."""
        return f"{prefix}-{uuid.uuid4().hex[:8]}"

    def create_topics(self, *names: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create topics with one replica and wait until they are there; one that exists already is left as it is."""
        wanted = [NewTopic(name, partitions, 1, config=dict(config or {})) for name in names]
        for name, created in self.admin.create_topics(wanted).items():
            try:
                created.result(ADMIN_SECONDS_MAX)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise BrokerError(f"topic {name!r} cannot be created: {error.args[0].str()}") from error


@contextmanager
def kafka_for_tests() -> Iterator[KafkaForTests]:
    """A real Kafka until the end of the `with`.

    KAFKA_BOOTSTRAP_SERVERS, where it is set, names it. Else DESCANT_TEST_KAFKA chooses: `embedded` (a child process;
    needs Java), `docker` (testcontainers with apache/kafka; needs Docker), or `auto`, the default, which takes the
    first where Java is, because it costs less, and the second where it is not.

    Raises ConfigError or BrokerError when it cannot be had; tests then fail, and are not skipped in silence.
    """
    named = bootstrap_servers(None)
    if named is not None:
        yield KafkaForTests(named, "named")
        return
    match os.environ.get("DESCANT_TEST_KAFKA", "auto"):
        case "embedded":
            source: Source = "embedded"
        case "docker":
            source = "docker"
        case "auto":
            source = "embedded" if has_java() else "docker"
        case other:
            raise ConfigError(
                f"DESCANT_TEST_KAFKA is {other!r}. Set it to auto, embedded or docker.", code="testing.kafka"
            )
    if source == "embedded":
        with EmbeddedKafka() as broker:
            yield KafkaForTests(broker.bootstrap, source)
    else:
        # Imported here because testcontainers is needed for this source only.
        from streams.testing.container import kafka_container  # noqa: PLC0415

        with kafka_container() as bootstrap:
            yield KafkaForTests(bootstrap, source)
