"""A real Kafka for people who have none at hand: as a child process, or in the background of a machine."""

from streams.broker.address import bootstrap_servers
from streams.broker.background import BackgroundBroker, broker_down, broker_status, broker_up
from streams.broker.embedded import EmbeddedKafka
from streams.broker.jars import Progress, kafka_jars
from streams.broker.java import has_java
from streams.broker.settings import BROKER_SETTINGS, KAFKA_VERSION, Listener, container_environment

__all__ = [
    "BROKER_SETTINGS",
    "KAFKA_VERSION",
    "BackgroundBroker",
    "EmbeddedKafka",
    "Listener",
    "Progress",
    "bootstrap_servers",
    "broker_down",
    "broker_status",
    "broker_up",
    "container_environment",
    "has_java",
    "kafka_jars",
]
