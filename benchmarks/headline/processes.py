"""The processes of one run, and the CPU that each uses. For Linux: reads /proc."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

TICKS: Final = os.sysconf("SC_CLK_TCK")
STOP_SECONDS: Final = 20.0
_END_WITH_PARENT: Final = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
"""Of util-linux: a child does not outlive this process, however it ends."""


class ProcessError(Exception):
    """A process ended, or was not ready in time; the text has the end of its log."""


@dataclass(slots=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


class Processes:
    """`with Processes(folder) as children`: start, wait until ready, measure; none is left afterwards."""

    def __init__(self, folder: Path) -> None:
        """Each process writes its log into `folder`."""
        self._folder: Final = folder
        self._children: Final[list[_Child]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.process.terminate()
        ends_at = time.monotonic() + STOP_SECONDS
        for child in self._children:
            try:
                child.process.wait(max(0.1, ends_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        log = self._folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*_END_WITH_PARENT, *command], env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._children.append(_Child(name, process, log))

    def wait_ready(self, seconds: float) -> None:
        """Until each has said {"event": "ready"}. Raises ProcessError."""
        ends_at = time.monotonic() + seconds
        for child in self._children:
            while not _is_ready(child.log):
                status = child.process.poll()
                if status is not None or time.monotonic() > ends_at:
                    why = f"ended with status {status}" if status is not None else f"is not ready after {seconds:.0f} s"
                    raise ProcessError(f"{child.name} {why}; its log ends:\n{child.log.read_text()[-3000:]}")
                time.sleep(0.1)

    def check(self) -> None:
        """Raises ProcessError when one has ended."""
        for child in self._children:
            if child.process.poll() is not None:
                raise ProcessError(f"{child.name} ended; its log ends:\n{child.log.read_text()[-3000:]}")

    def cpu_seconds(self) -> dict[str, float]:
        """Used by each so far; children of theirs (an engine core, say) are not in it."""
        return {child.name: process_cpu_seconds(child.process.pid) for child in self._children}


def process_cpu_seconds(pid: int) -> float:
    """User and system time of a process; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def machine_seconds() -> tuple[float, float]:
    """(busy, all) CPU seconds of the machine since it started; what a hypervisor took counts as busy."""
    fields = [int(f) for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / TICKS, sum(fields) / TICKS


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _is_ready(log: Path) -> bool:
    return any(b'"event"' in line and _says_ready(line) for line in log.read_bytes().splitlines())


def _says_ready(line: bytes) -> bool:
    try:
        said = json.loads(line)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("event") == "ready"
