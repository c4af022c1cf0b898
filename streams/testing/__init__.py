"""A real Kafka for tests of pipelines: `pytest_plugins = ["streams.testing.fixtures"]` in the root conftest.py.

The fixture `kafka` is then a KafkaForTests. DESCANT_TEST_KAFKA says where it comes from; see `kafka_for_tests`.
"""

from streams.testing.kafka import KafkaForTests, kafka_for_tests
from streams.testing.pipeline import running

__all__ = ["KafkaForTests", "kafka_for_tests", "running"]
