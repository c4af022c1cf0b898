"""The official Kafka image, by testcontainers."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from streams.broker import KAFKA_VERSION, container_environment
from streams.broker.node import answers
from streams.broker.ports import free_port, is_listening
from streams.errors import BrokerError, ConfigError

READY_SECONDS_MAX = 120.0
POLL_SECONDS = 0.2


@contextmanager
def kafka_container() -> Iterator[str]:
    """A container of the same broker as the embedded one; yields what clients take as `bootstrap.servers`.

    The port must be known before the container starts, because the broker tells it to its clients: so it is a
    fixed one, and testcontainers' own KafkaContainer, which knows only other images, is of no use.
    """
    if "TESTCONTAINERS_RYUK_DISABLED" not in os.environ:
        # The reaper is a second image to pull, for containers that a killed test run leaves; we remove ours below.
        testcontainers_config.ryuk_disabled = True
    port = free_port()
    try:
        # Docker is asked for as soon as the container is described, not only when it is started.
        container = DockerContainer(f"apache/kafka:{KAFKA_VERSION}").with_bind_ports(port, port)
        for name, value in container_environment(host_port=port).items():
            container = container.with_env(name, value)
        container.start()
    except DockerException as error:
        raise ConfigError(
            f"Docker cannot start apache/kafka:{KAFKA_VERSION}: {error}. Start Docker, or install Java 17 and set "
            "DESCANT_TEST_KAFKA=embedded, or name a Kafka with KAFKA_BOOTSTRAP_SERVERS.",
            code="testing.docker",
        ) from error
    try:
        _wait_ready(container, port)
        yield f"localhost:{port}"
    finally:
        container.stop()


def _wait_ready(container: DockerContainer, port: int) -> None:
    ends_at = time.monotonic() + READY_SECONDS_MAX
    admin = AdminClient({"bootstrap.servers": f"localhost:{port}", "log_level": 0})
    while not (is_listening(port) and answers(admin)):
        if time.monotonic() > ends_at:
            said = b"".join(container.get_logs()).decode(errors="replace").strip().splitlines()
            last = said[-1] if said else "it said nothing"
            raise BrokerError(
                f"Kafka in its container was not ready within {READY_SECONDS_MAX:.0f} s: {last}",
                code="broker.not_ready",
            )
        time.sleep(POLL_SECONDS)
