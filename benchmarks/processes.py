"""Processes under measurement: run, stopped while something is prepared, and what CPU they took."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STOP_SECONDS = 15.0

PIPELINE_VARIABLE = "BENCH_PIPELINE"
"""Names, to a process of assertions, the pipeline that it watches."""


@contextmanager
def running(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield process
        except BaseException:
            sys.stderr.write(log.read_text()[-3000:])
            raise
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def descant(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("descant")), *arguments]


def environment(**variables: str) -> dict[str, str]:
    """Of a child that imports benchmarks, and is stopped longer than a session usually lasts."""
    return {**os.environ, "PYTHONPATH": str(Path.cwd()), "DESCANT_SESSION_SECONDS": "60", **variables}


def stop(pids: Sequence[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def go_on(pids: Sequence[int]) -> None:
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)


def cpu_seconds(pid: int) -> float:
    """Of all threads; in nanoseconds from the scheduler, where the clock's ticks of 10 ms would be too coarse."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
