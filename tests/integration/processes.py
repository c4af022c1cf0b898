"""Processes of the `descant` command for tests: started, ready, watched, ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
DESCANT = (sys.executable, "-c", "from streams.cli import main; main()")
READY_SECONDS = 400.0
STOP_SECONDS = 40.0


class Descant:
    """One process; what it says on standard output and in its log is kept in files."""

    def __init__(self, name: str, folder: Path, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self.name = name
        self.said = folder / f"{name}.out"
        self.log = folder / f"{name}.log"
        with self.said.open("wb") as out, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*DESCANT, *arguments], cwd=ROOT, env={**os.environ, **environment}, stdout=out, stderr=log
            )

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        ends_at = time.monotonic() + seconds
        while "ready" not in self.said.read_text() + self.log.read_text():
            assert self.process.poll() is None, f"{self.name} ended: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < ends_at, f"{self.name} is not ready: {self.log.read_text()[-2000:]}"
            time.sleep(0.1)

    def wait_ended(self, seconds: float = READY_SECONDS) -> int:
        return self.process.wait(seconds)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Processes:
    """Those of one test module, in one environment."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self.running: dict[str, Descant] = {}

    def start(self, name: str, *arguments: str) -> Descant:
        found = self.running[name] = Descant(name, self._folder, arguments, self._environment)
        return found

    def wait_ready(self) -> None:
        for each in self.running.values():
            each.wait_ready()

    def stop(self) -> None:
        for each in self.running.values():
            if each.process.poll() is None:
                each.process.terminate()
        for each in self.running.values():
            each.stop()
