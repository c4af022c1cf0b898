"""A broker that outlives the command that starts it: one for each user of a machine."""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from streams.broker.embedded import STOP_SECONDS_MAX
from streams.broker.jars import Progress
from streams.broker.node import Node
from streams.broker.ports import LOOPBACK
from streams.broker.process import ProcessId, identify
from streams.errors import BrokerError

DEFAULT_PORT = 9092
"""Where every Kafka client looks first."""

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class BackgroundBroker:
    """The broker that `descant broker up` started."""

    bootstrap: str
    pid: int
    started: str
    data_dir: str
    log_path: str

    @property
    def process(self) -> ProcessId:
        return ProcessId(self.pid, self.started)


def state_folder() -> Path:
    """Where we note what runs: XDG_STATE_HOME/descant."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "descant"


def broker_status() -> BackgroundBroker | None:
    """The background broker, or None; a note left behind by one that has died is not believed."""
    try:
        noted = BackgroundBroker(**json.loads(_note().read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return noted if noted.process.is_alive else None


def broker_up(port: int | None, data_dir: Path | None, on_progress: Progress) -> BackgroundBroker:
    """Start the background broker and wait until it answers; the one that runs already is returned as it is.

    port       None takes 9092, 0 a free one.
    data_dir   None takes a folder beside the note of what runs; records are kept from one start to the next.
    Raises     ConfigError, BrokerError as EmbeddedKafka does; broker.differs if one runs elsewhere than asked for.
    """
    with _alone():
        running = broker_status()
        if running is not None:
            _check_same(running, port, data_dir)
            return running
        folder = (data_dir or state_folder() / "kafka").absolute()
        node = Node(folder, on_progress)
        ports = node.prepare(DEFAULT_PORT if port is None else port or None)
        process = node.spawn(ports)
        try:
            node.wait_ready(process, ports)
            identity = identify(process.pid)
            if identity is None:
                raise BrokerError(f"Kafka ended at once. Its log is {node.log_path}.", code="broker.ended")
            broker = BackgroundBroker(
                bootstrap=f"{LOOPBACK}:{ports.broker}",
                pid=identity.pid,
                started=identity.started,
                data_dir=str(folder),
                log_path=str(node.log_path),
            )
            written = _note().with_suffix(".new")
            written.write_text(json.dumps(asdict(broker)))
            written.replace(_note())
        except BaseException:
            process.kill()
            process.wait()
            raise
        # It is meant to run on: said to Popen, which would warn that it was left.
        process.returncode = 0
        return broker


def broker_down() -> BackgroundBroker | None:
    """Stop the background broker (SIGTERM, then SIGKILL) and return what ran, or None; its records are kept."""
    with _alone():
        running = broker_status()
        if running is not None:
            ended_in_order = _end(running.process)
            if ended_in_order:
                Node(Path(running.data_dir), lambda _line: None).keep_class_archive()
        _note().unlink(missing_ok=True)
        return running


def _end(process: ProcessId) -> bool:
    """End the process; returns whether it ended when asked, without force."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        ends_at = time.monotonic() + STOP_SECONDS_MAX
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, kind)
        while process.is_alive and time.monotonic() < ends_at:
            time.sleep(POLL_SECONDS)
        if not process.is_alive:
            return kind is signal.SIGTERM
    raise BrokerError(f"the broker with process id {process.pid} does not end.", code="broker.stuck")


def _check_same(running: BackgroundBroker, port: int | None, data_dir: Path | None) -> None:
    elsewhere = port and running.bootstrap != f"{LOOPBACK}:{port}"
    if elsewhere or (data_dir is not None and running.data_dir != str(data_dir.absolute())):
        raise BrokerError(
            f"a broker runs on {running.bootstrap} with its records in {running.data_dir}, not as asked for. "
            "Use that one, or stop it first with `descant broker down`.",
            code="broker.differs",
        )


def _note() -> Path:
    return state_folder() / "broker.json"


@contextmanager
def _alone() -> Iterator[None]:
    """One `up` or `down` at a time; each is bounded by the broker's own time limits."""
    state_folder().mkdir(parents=True, exist_ok=True)
    with (state_folder() / "broker.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
