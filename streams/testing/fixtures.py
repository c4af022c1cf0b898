"""The pytest plugin: `pytest_plugins = ["streams.testing.fixtures"]` in the root conftest.py."""

from collections.abc import Iterator

import pytest

from streams.testing.kafka import KafkaForTests, kafka_for_tests


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaForTests]:
    """A real Kafka, one for the whole session: tests keep apart by the names that `kafka.unique` makes."""
    with kafka_for_tests() as running:
        yield running
