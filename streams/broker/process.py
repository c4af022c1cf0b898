"""Which process a process id means, now and after the id has been given to somebody else."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple


class ProcessId(NamedTuple):
    """A process, told from a later one with the same number by when it began."""

    pid: int
    started: str
    """When it began, in the operating system's own terms; compared, never read."""

    @property
    def is_alive(self) -> bool:
        """Whether that very process still runs; a zombie does not."""
        return started_at(self.pid) == self.started


def identify(pid: int) -> ProcessId | None:
    """The process that has this number now, or None."""
    started = started_at(pid)
    return None if started is None else ProcessId(pid, started)


def started_at(pid: int) -> str | None:
    """When the process with this number began, or None if there is none (or only a zombie)."""
    if Path("/proc/self/stat").exists():
        try:
            # The second field is the command in brackets and may itself hold spaces and brackets: proc(5).
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in {"Z", "X"} else fields[19]
    env = {**os.environ, "LC_ALL": "C"}
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, env=env, check=False
    )
    state, _, started = shown.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()
