"""A real Apache Kafka as a child of this process."""

import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.broker.guard import Guard
from streams.broker.jars import Progress
from streams.broker.node import Node, Ports
from streams.broker.ports import LOOPBACK
from streams.broker.settings import Listener
from streams.errors import BrokerError

# A node with open partitions stops in 1 to 2 s; what is not written by then is recovered at the next start anyway.
STOP_SECONDS_MAX = 15.0

# A drawn port can be taken by somebody else before Kafka binds it; then another is drawn.
PORT_TRIES_MAX = 3


class EmbeddedKafka:
    """One Kafka broker that lives at most as long as this process.

        with EmbeddedKafka() as kafka:
            producer = Producer({"bootstrap.servers": kafka.bootstrap})

    data_dir      Folder for records, log and ports, kept afterwards; None: a temporary one, thrown away at the end.
    port          Port for clients on 127.0.0.1; None takes a free one, and the same again in a folder used before.
    listener      Another way in, with TLS or SASL; what `bootstrap` names stays plain.
    on_progress   Called with a line for people whenever a wait begins or moves on.
    lasting       It runs for hours, or its speed is measured; otherwise it does without what only pays then.
    advertised_port   Where clients are sent, when something that stands between passes their traffic on to `port`.

    The broker ends with this process however that ends, SIGKILL included, and never by a Ctrl-C meant for us. `kill`,
    `pause` and the rest are for tests of what happens then. Not safe to use from several threads at once.

    Raises ConfigError and BrokerError with codes under `broker.`: what is missing or in the way, and what to do.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        port: int | None = None,
        on_progress: Progress | None = None,
        *,
        advertised_port: int | None = None,
        listener: Listener | None = None,
        lasting: bool = False,
    ) -> None:
        self._temporary = (
            # Errors ignored: at the end of the interpreter the guard may be removing it too.
            tempfile.TemporaryDirectory(prefix="descant-kafka-", ignore_cleanup_errors=True)
            if data_dir is None
            else None
        )
        folder = Path(self._temporary.name) if self._temporary else Path(data_dir or "").absolute()
        self._node = Node(folder, on_progress or (lambda _line: None), advertised_port, listener, lasting=lasting)
        self._asked_port = port or None
        self._ports: Ports | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def bootstrap(self) -> str:
        """What clients take as `bootstrap.servers`; stays the same through `restart`."""
        if self._ports is None:
            raise _not_running()
        return f"{LOOPBACK}:{self._ports.broker}"

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log_path(self) -> Path:
        """The broker's own log, bounded in size."""
        return self._node.log_path

    def last_error(self) -> str:
        """The last thing that the broker complained of since it started, or that it said nothing."""
        return self._node.last_error()

    @property
    def data_dir(self) -> Path:
        return self._node.folder

    def start(self) -> str:
        """Start the broker, wait until it answers, and return `bootstrap`. Does nothing when it runs already."""
        if self.is_running:
            return self.bootstrap
        self._forget()
        # After the first start the port belongs to the clients' configuration: it must be the same again.
        wanted = self._ports.broker if self._ports else self._asked_port
        for tries_left in reversed(range(PORT_TRIES_MAX)):
            self._ports = ports = self._node.prepare(wanted)
            self._process = process = self._node.spawn(ports)
            throw_away = self._node.folder if self._temporary else None
            self._guard = Guard(process.pid, throw_away)
            try:
                self._node.wait_ready(process, ports)
                return self.bootstrap
            except BaseException as error:
                self.kill()
                taken = isinstance(error, BrokerError) and error.code == "broker.port_taken"
                if not taken or not tries_left:
                    raise
        raise AssertionError("the last turn returns or raises")

    def stop(self) -> None:
        """End the broker in order (SIGTERM, then SIGKILL); its records stay. Does nothing if it is down."""
        if self._process is not None and self.is_running:
            self.resume()
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS_MAX)
                self._node.keep_class_archive()
        self.kill()

    def kill(self) -> None:
        """End the broker at once, as a power failure would; its records stay for `start`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._forget()

    def restart(self) -> str:
        """Bring the broker back on the same port and records, after `stop`, `kill` or neither; returns `bootstrap`."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Stop the broker's clock (SIGSTOP): it holds its connections and answers nothing until `resume`."""
        pid = self._running().pid
        os.kill(pid, signal.SIGSTOP)
        if hasattr(os, "waitid"):  # some systems have none; on a busy machine the last of its threads may stop late
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self._running().pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop, and throw a temporary folder away."""
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise _not_running()
        return self._process

    def _forget(self) -> None:
        if self._guard is not None:
            self._guard.release()
        self._guard = self._process = None


def _not_running() -> BrokerError:
    return BrokerError("the embedded Kafka does not run. Call start() first.", code="broker.down")
