"""Nothing outlives its starter: a small shell that ends the broker when the process that started it is gone.

The kernel's own signal for this (PR_SET_PDEATHSIG) is Linux only and comes when the *thread* that started the child
ends, which is the wrong moment under `asyncio.to_thread`. A pipe closes with the process, also by SIGKILL.
A process that the starter forks without exec holds the pipe too: the broker then stays until that one is gone.
"""

import contextlib
import subprocess
from pathlib import Path
from typing import Final

# $1 is the broker, $2 a folder to throw away with it, or nothing. Waiting is bounded (5 s): where nobody reaps orphans,
# a killed process stays visible as a zombie for ever.
_SCRIPT: Final = """
read -r word
[ "$word" = stopped ] && exit 0
kill -KILL "$1" 2>/dev/null
turns=0
while kill -0 "$1" 2>/dev/null && [ "$turns" -lt 100 ]; do sleep 0.05; turns=$((turns + 1)); done
[ -n "$2" ] && rm -rf -- "$2"
"""


class Guard:
    """Watches over one broker process until `release`."""

    def __init__(self, pid: int, throw_away: Path | None) -> None:
        # In a session of its own, so that Ctrl-C at the terminal reaches the starter alone, which then stops the
        # broker in the right order.
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "descant-broker-guard", str(pid), str(throw_away or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def release(self) -> None:
        """The broker has ended in order; the guard goes too."""
        with contextlib.suppress(BrokenPipeError):
            self._shell.communicate(b"stopped\n")
