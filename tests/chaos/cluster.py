"""Three Kafka nodes on this machine, each broker and controller: any one of them may go."""

from __future__ import annotations

import base64
import contextlib
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Final, Self

from confluent_kafka.admin import AdminClient

from streams.broker import BROKER_SETTINGS
from streams.broker.jars import kafka_jars
from streams.broker.java import find_java
from streams.broker.node import JVM_OPTIONS
from streams.broker.ports import LOOPBACK, free_port
from streams.broker.settings import as_properties
from tests.chaos.fleet import DIE_WITH_PARENT

NODES: Final = (1, 2, 3)
NOBODY: Final = -1

READY_SECONDS_MAX: Final = 120.0
STOP_SECONDS_MAX: Final = 20.0

REPLICATED: Final = {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "default.replication.factor": "3",
}

EXEC: Final = f"{DIE_WITH_PARENT}import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
"""Java cannot ask to end with us; whoever becomes it can. What is asked for survives an exec."""


class Cluster:
    """`with Cluster(folder) as kafka:`; nodes are stopped, paused and started again by number."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self._brokers: Final = {node: free_port() for node in NODES}
        self._controllers: Final = {node: free_port() for node in NODES}
        self._processes: Final[dict[int, subprocess.Popen[bytes]]] = {}
        self._gone: Final[set[int]] = set()
        """Nodes that are meant to be away."""
        self._java: Final = find_java()
        self._jars: Final = kafka_jars(lambda _line: None)

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{LOOPBACK}:{port}" for port in self._brokers.values())

    def __enter__(self) -> Self:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "k")
        try:
            for node in NODES:
                properties = self._properties(node)
                tool = self._command("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties))
                subprocess.run(tool, check=True, capture_output=True, timeout=READY_SECONDS_MAX)
                self.start(node)
            self._wait_until_all_are_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _properties(self, node: int) -> Path:
        home = self._folder / f"node-{node}"
        home.mkdir(parents=True)
        listeners = f"PLAINTEXT://{LOOPBACK}:{self._brokers[node]},CONTROLLER://{LOOPBACK}:{self._controllers[node]}"
        voters = ",".join(f"{number}@{LOOPBACK}:{port}" for number, port in self._controllers.items())
        (home / "log4j2.properties").write_text(
            "rootLogger.level = WARN\nrootLogger.appenderRef.out.ref = out\nappender.out.type = Console\n"
            "appender.out.name = out\nappender.out.layout.type = PatternLayout\n"
            "appender.out.layout.pattern = %d %p %c: %m%n\n"
        )
        path = home / "server.properties"
        path.write_text(
            as_properties(
                {
                    **BROKER_SETTINGS,
                    **REPLICATED,
                    "process.roles": "broker,controller",
                    "node.id": str(node),
                    "listeners": listeners,
                    "advertised.listeners": listeners,
                    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                    "inter.broker.listener.name": "PLAINTEXT",
                    "controller.listener.names": "CONTROLLER",
                    "controller.quorum.voters": voters,
                    "log.dirs": str(home / "data"),
                }
            )
        )
        return path

    def _command(self, *main: str) -> list[str]:
        return [self._java.path, *JVM_OPTIONS, "-cp", f"{self._jars}/*", *main]

    def start(self, node: int) -> None:
        """Returns at once; `count` says when it is there."""
        self._gone.discard(node)
        home = self._folder / f"node-{node}"
        logging = f"-Dlog4j2.configurationFile={home / 'log4j2.properties'}"
        java, *rest = self._command("kafka.Kafka", str(home / "server.properties"))
        with (home / "out.log").open("ab") as output:
            self._processes[node] = subprocess.Popen(
                [sys.executable, "-c", EXEC, java, logging, *rest],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_until_all_are_up(self) -> None:
        ends_at = time.monotonic() + READY_SECONDS_MAX
        while self.count() < len(NODES):
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{self.count()} of {len(NODES)} Kafka nodes are up; their logs: {self._folder}")
            time.sleep(0.5)

    def count(self) -> int:
        """Brokers that the cluster knows of; 0 when none answers.

        A node that ended by itself is started again, as whoever supervises it would: on a busy machine Kafka gives up
        a start that its controller does not acknowledge in time.
        """
        for node, process in list(self._processes.items()):
            if process.poll() is not None and node not in self._gone:
                self.start(node)
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        with contextlib.suppress(Exception):
            return len(admin.list_topics(timeout=2.0).brokers)
        return 0

    def is_whole(self) -> bool:
        """All nodes are there, and every partition has a leader."""
        return self.count() == len(NODES) and not self.led_by(NOBODY)

    def led_by(self, node: int) -> list[tuple[str, int]]:
        """Partitions whose leader it is; NOBODY: that have none."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        topics = admin.list_topics(timeout=10.0).topics
        return [
            (t, number) for t, topic in topics.items() for number, p in topic.partitions.items() if p.leader == node
        ]

    def stop(self, node: int) -> None:
        """In order: leaders move away first, where they can."""
        self._gone.add(node)
        process = self._processes[node]
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS_MAX)
        self.kill(node)

    def kill(self, node: int) -> None:
        self._gone.add(node)
        process = self._processes[node]
        process.kill()
        process.wait()

    def pause(self, node: int) -> None:
        self._processes[node].send_signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        self._processes[node].send_signal(signal.SIGCONT)

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
