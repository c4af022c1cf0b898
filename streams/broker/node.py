"""One Kafka node on this machine: its folder, its command lines, whether it is ready, why it is not."""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.broker.jars import Progress, kafka_jars
from streams.broker.java import find_java
from streams.broker.ports import LOOPBACK, free_port, is_free, is_listening
from streams.broker.process import ProcessId, identify
from streams.broker.settings import Listener, as_properties, server_properties
from streams.errors import BrokerError, ConfigError

# Ready in 1.6 s on an idle machine with 2 cores, about 10 s on one that is busy with other things.
READY_SECONDS_MAX = 90.0
READY_POLL_SECONDS = 0.05

# Kafka writes little at first, and stops in mid-flight when a write fails: better refused before than broken after.
FREE_BYTES_MIN = 256 * 1024 * 1024

# 512 MB is enough for tests and demos (370 MB resident); the serial collector needs no threads of its own.
JVM_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-Djava.awt.headless=true")

# For a broker of minutes the optimising compiler costs more than it gives: without it, a first minute with 25 idle
# consumers and 50 records a second took 0.30 of a core in place of 0.46. Later a request takes 0.29 ms, not 0.22.
SHORT_LIVED_OPTIONS = ("-XX:TieredStopAtLevel=1",)


@dataclass(frozen=True)
class Ports:
    """Where one node listens: for clients, and for itself as its own controller."""

    broker: int
    controller: int


class Node:
    """The folder of one node and what runs in it. Starts processes, but does not decide how long they live."""

    def __init__(
        self,
        folder: Path,
        on_progress: Progress,
        advertised_port: int | None = None,
        listener: Listener | None = None,
        *,
        lasting: bool = True,
    ) -> None:
        self.folder = folder
        self._options = JVM_OPTIONS if lasting else (*JVM_OPTIONS, *SHORT_LIVED_OPTIONS)
        self._advertised_port = advertised_port
        self.log_path = folder / "broker.log"
        self._output = folder / "broker.out"
        self._properties = folder / "server.properties"
        self._logging = folder / "log4j2.properties"
        self._state = folder / "broker.json"
        self._dump = folder / "classes.jsa"
        self._on_progress = on_progress
        self._listener = listener

    def prepare(self, port: int | None) -> Ports:
        """Make the folder ready for `spawn`, or say why it cannot be.

        A folder that was used before keeps its records, and its ports where they are free and `port` is None.

        Raises ConfigError without Java, without jars or when the disk is full, BrokerError when the port is taken or
        another broker uses the folder.
        """
        java = find_java()
        jars = kafka_jars(self._on_progress)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_room()
            self._check_owner()
            ports = self._choose_ports(port)
            data = self.folder / "data"
            self._properties.write_text(
                as_properties(
                    server_properties(
                        broker_port=ports.broker,
                        controller_port=ports.controller,
                        data=str(data.resolve()),
                        advertised_port=self._advertised_port,
                        listener=self._listener,
                    )
                )
            )
            self._logging.write_text((files("streams.broker") / "log4j2.properties").read_text())
        except OSError as error:
            raise ConfigError(
                f"the broker's folder {self.folder} cannot be used: {error.strerror}. "
                "Choose another with --data-dir, or make room in it.",
                code="broker.folder",
            ) from error
        self._archive = jars / f"classes-{hashlib.sha256(java.build.encode()).hexdigest()[:8]}.jsa"
        self._archives_classes = java.can_archive_classes
        self._command = [java.path, *self._options, *self._system_properties(), "-cp", f"{jars}/*"]
        if not (data / "meta.properties").exists():
            self._format()
        return ports

    def spawn(self, ports: Ports) -> subprocess.Popen[bytes]:
        """Start the node in a session of its own; not ready yet."""
        self.log_path.touch()
        self._output.unlink(missing_ok=True)
        self._dump.unlink(missing_ok=True)
        log_begins = self.log_path.stat().st_size
        with self._output.open("wb") as output:
            process = subprocess.Popen(
                [*self._command, *self._class_archive(), "kafka.Kafka", str(self._properties)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._log_begins = log_begins
        if (identity := identify(process.pid)) is not None:
            record = {
                "process": identity,
                "ports": [ports.broker, ports.controller],
                "class_archive": str(self._archive),
            }
            self._state.write_text(json.dumps(record))
        return process

    def wait_ready(self, process: subprocess.Popen[bytes], ports: Ports) -> None:
        """Wait until the broker answers. Raises BrokerError with the reason if it ends or takes too long."""
        self._on_progress("starting Apache Kafka")
        begun = time.monotonic()
        admin: AdminClient | None = None
        while process.poll() is None:
            # The connection is tried by hand first: librdkafka writes a line to stderr for each refusal.
            if admin is None and is_listening(ports.broker):
                admin = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{ports.broker}"})
            if admin is not None and answers(admin):
                self._on_progress(f"Apache Kafka is ready after {time.monotonic() - begun:.1f} s")
                return
            if time.monotonic() - begun > READY_SECONDS_MAX:
                raise BrokerError(
                    f"Kafka was not ready within {READY_SECONDS_MAX:.0f} s: {self.last_error()} Its log is "
                    f"{self.log_path}. If this machine is merely busy, try again.",
                    code="broker.not_ready",
                )
            time.sleep(READY_POLL_SECONDS)
        raise self._ended(process.returncode, ports)

    def keep_class_archive(self) -> None:
        """After the node has ended in order: keep what it left for faster starts. Never fails: it is only speed."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            archive = Path(json.loads(self._state.read_text())["class_archive"])
            if self._dump.exists() and not archive.exists():
                # Copied beside its place and renamed, so that no other start ever reads half of it.
                beside = archive.with_name(f"{archive.name}.{os.getpid()}")
                shutil.move(self._dump, beside)
                beside.replace(archive)

    def last_error(self) -> str:
        """The last thing that the node itself complained of, as one sentence, or that it said nothing."""
        said = self._said_since_spawn()
        errors = [line for line in said if " ERROR " in line or " FATAL " in line or "Error" in line]
        return (errors or said or ["it said nothing."])[-1].strip()[:300]

    def owner(self) -> ProcessId | None:
        """The node that runs in this folder, or None; a record left by one that has died is not believed."""
        try:
            identity = ProcessId(*json.loads(self._state.read_text())["process"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return identity if identity.is_alive else None

    def _said_since_spawn(self) -> list[str]:
        said = self._output.read_text(errors="replace") if self._output.exists() else ""
        if self.log_path.exists():
            with self.log_path.open(errors="replace") as log:
                if self.log_path.stat().st_size > self._log_begins:
                    log.seek(self._log_begins)
                said += log.read()
        return [line for line in said.splitlines() if line.strip()]

    def _ended(self, status: int, ports: Ports) -> BrokerError:
        said = "\n".join(self._said_since_spawn())
        if "Address already in use" in said:
            return port_taken(ports.controller if is_free(ports.broker) else ports.broker)
        if "No space left on device" in said:
            return BrokerError(
                f"Kafka ended because the disk of {self.folder} is full. "
                "Make room, or choose another folder with --data-dir.",
                code="broker.disk_full",
            )
        return BrokerError(
            f"Kafka ended with status {status} before it was ready: {self.last_error()} Its log is {self.log_path}.",
            code="broker.ended",
        )

    def _system_properties(self) -> list[str]:
        return [
            f"-Dlog4j2.configurationFile={self._logging}",
            f"-Ddescant.log={self.log_path}",
            f"-XX:ErrorFile={self.folder / 'jvm-crash.log'}",
        ]

    def _class_archive(self, *, reads_only: bool = False) -> list[str]:
        """Options that load Kafka's classes from an archive, or make one at the end of this run if there is none.

        Most of a start is reading classes out of jars: with the archive it took 1.7 s in place of 4.6, and the
        format step 0.6 in place of 1.9 (JDK 17, 2 busy cores). Cost: 50 MB in the cache, 1 s at the first stop.
        Java checks that the archive fits its build and the jars, and goes on without it if not; but it refuses to
        start when told to make one and lacks the archive of its own classes.
        """
        if not self._archives_classes:
            return []
        if self._archive.exists():
            return [f"-XX:SharedArchiveFile={self._archive}"]
        return [] if reads_only else [f"-XX:ArchiveClassesAtExit={self._dump}"]

    def _format(self) -> None:
        """Give the empty folder its cluster id, as KRaft wants it before the first start."""
        # An id that begins with a dash would be read as an option.
        cluster_id = "k" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        # fmt: off
        tool = [*self._command, *self._class_archive(reads_only=True), "kafka.tools.StorageTool", "format",
                "--standalone", "-t", cluster_id, "-c", str(self._properties)]
        # fmt: on
        done = subprocess.run(tool, capture_output=True, text=True, timeout=READY_SECONDS_MAX, check=False)
        if done.returncode:
            lines = (done.stderr + done.stdout).strip().splitlines() or ["it said nothing"]
            raise BrokerError(
                f"Kafka could not format {self.folder}: {lines[-1][:300]}. Choose another folder with --data-dir.",
                code="broker.format",
            )

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < FREE_BYTES_MIN:
            raise ConfigError(
                f"only {free // 2**20} MiB are free on the disk of {self.folder}, and Kafka needs at least "
                f"{FREE_BYTES_MIN // 2**20} MiB. Make room, or choose another folder with --data-dir.",
                code="broker.disk_full",
            )

    def _check_owner(self) -> None:
        owner = self.owner()
        if owner is not None:
            raise BrokerError(
                f"the broker with process id {owner.pid} uses {self.folder}. "
                "Stop it (`descant broker down`, or end the program that started it), "
                "or choose another folder with --data-dir.",
                code="broker.folder_in_use",
            )

    def _choose_ports(self, port: int | None) -> Ports:
        try:
            broker, controller = (int(kept) for kept in json.loads(self._state.read_text())["ports"])
        except (OSError, ValueError, KeyError, TypeError):
            broker = controller = 0
        if port is not None:
            if not is_free(port):
                raise port_taken(port)
            broker = port
        elif not broker or not is_free(broker):
            broker = free_port()
        if not controller or controller == broker or not is_free(controller):
            controller = free_port(besides=broker)
        return Ports(broker, controller)


def answers(admin: AdminClient) -> bool:
    """Whether the cluster names at least one broker that takes requests."""
    try:
        return bool(admin.list_topics(timeout=1.0).brokers)
    except KafkaException:
        return False


def port_taken(port: int) -> BrokerError:
    return BrokerError(
        f"port {port} is taken by another process. "
        "Stop that one, or choose another port with --port (0 takes a free one).",
        code="broker.port_taken",
    )
