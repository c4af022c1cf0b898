"""How our single broker is configured, wherever it runs: as a child process, in a container, in compose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

KAFKA_VERSION: Final = "4.4.0"

BROKER_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # There is one broker, so nothing can have two replicas; Kafka's defaults of 3 would make every first use fail.
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # These spread over brokers. On one broker 50 of each only cost: the first group waits until they are made,
        # and each is opened again at a restart.
        "offsets.topic.num.partitions": "5",
        "transaction.state.log.num.partitions": "5",
        "share.coordinator.state.topic.num.partitions": "1",
        # A start waits for the first of these.
        "broker.heartbeat.interval.ms": "500",
        # A classic group would wait 3 s for more members before its first assignment.
        "group.initial.rebalance.delay.ms": "0",
        # `range` first makes it the default: it alone keeps partition i of all topics of a group on one member, which
        # joins rely on. `uniform` stays for other people's groups.
        "group.consumer.assignors": "range,uniform",
        # Kafka's default *and minimum* are 45 s and 5 s: so long would the partitions of a killed instance stay without
        # owner. 6 s is six heartbeats; less would throw out instances that a busy machine merely holds up.
        "group.consumer.min.session.timeout.ms": "6000",
        "group.consumer.session.timeout.ms": "6000",
        "group.consumer.min.heartbeat.interval.ms": "1000",
        "group.consumer.heartbeat.interval.ms": "1000",
        # A transaction that its producer left open hides everything behind it until the broker aborts it; it looks
        # for those every 10 s by default.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # A misspelt topic is an error, not a new topic with the wrong partition count.
        "auto.create.topics.enable": "false",
    }
)


@dataclass(frozen=True)
class Listener:
    """A second way into the embedded broker, with the security that a test wants; the plain one stays beside it."""

    port: int
    protocol: str
    """SSL, SASL_PLAINTEXT or SASL_SSL."""
    settings: Mapping[str, str]
    """Of the listener, without its prefix (`ssl.keystore.location`, `sasl.enabled.mechanisms`)."""
    broker: Mapping[str, str] = field(default_factory=dict)
    """Settings of the broker, such as its authorizer."""

    def properties(self, host: str, plain: Mapping[str, str]) -> dict[str, str]:
        """The broker's, with this listener in them."""
        return {
            **plain,
            "listeners": f"{plain['listeners']},SECURE://{host}:{self.port}",
            "advertised.listeners": f"{plain['advertised.listeners']},SECURE://{host}:{self.port}",
            "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},SECURE:{self.protocol}",
            **{f"listener.name.secure.{name}": value for name, value in self.settings.items()},
            **self.broker,
        }


def server_properties(
    *,
    broker_port: int,
    controller_port: int,
    data: str,
    host: str = "127.0.0.1",
    advertised_port: int | None = None,
    listener: Listener | None = None,
) -> dict[str, str]:
    """The whole `server.properties` of one KRaft node that is broker and controller and listens on `host` only.

    advertised_port   what clients are told to connect to, where it is not `broker_port` itself
    """
    told = advertised_port or broker_port
    plain = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"PLAINTEXT://{host}:{broker_port},CONTROLLER://{host}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{host}:{told},CONTROLLER://{host}:{controller_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": f"{host}:{controller_port}",
        "log.dirs": data,
        **BROKER_SETTINGS,
    }
    return plain if listener is None else listener.properties(host, plain)


def container_environment(*, host_port: int, inside: str = "localhost:9092") -> dict[str, str]:
    """The same broker for the `apache/kafka` image, reached on localhost:`host_port` from outside the container.

    The image drops its own defaults as soon as one KAFKA_ variable is set, so this names everything. Containers beside
    it reach it at `inside`, a name and a port other than `host_port`, which is to be published under the same number.
    """
    inside_port = inside.rpartition(":")[2]
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"HOST://0.0.0.0:{host_port},PLAINTEXT://0.0.0.0:{inside_port},CONTROLLER://localhost:9093",
        "advertised.listeners": f"HOST://localhost:{host_port},PLAINTEXT://{inside}",
        "listener.security.protocol.map": "HOST:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        # The image's format step fails with bootstrap servers alone.
        "controller.quorum.voters": "1@localhost:9093",
        "log.dirs": "/var/lib/kafka/data",
        **BROKER_SETTINGS,
    }
    return {environment_name(name): value for name, value in properties.items()}


def environment_name(setting: str) -> str:
    """How the `apache/kafka` image spells a broker setting as an environment variable."""
    return "KAFKA_" + setting.replace("-", "__").replace(".", "_").upper()


def as_properties(settings: Mapping[str, str]) -> str:
    """The text of a Java properties file; values here hold no character that it would need escaped but `\\`."""
    return "".join(f"{name}={value.replace(chr(92), chr(92) * 2)}\n" for name, value in settings.items())
