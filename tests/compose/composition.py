"""The composition, through the commands that its user types."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]

COMMAND_SECONDS_MAX: Final = 120.0
BUILD_SECONDS_MAX: Final = 1800.0
POLL_SECONDS: Final = 1.0


class CompositionError(Exception):
    """A command failed, or a service did not get where it should; the text says which and what was said."""


class Composition:
    """`docker compose` in the root of the repository."""

    def run(self, *arguments: str, limit_seconds: float = COMMAND_SECONDS_MAX) -> str:
        """Run one command of compose to its end and return its standard output."""
        return self._docker("compose", "--progress", "quiet", *arguments, limit_seconds=limit_seconds)

    def inspect(self, container: str, template: str) -> str:
        return self._docker("inspect", "--format", template, container).strip()

    def _docker(self, *arguments: str, limit_seconds: float = COMMAND_SECONDS_MAX) -> str:
        command = ["docker", *arguments]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=limit_seconds, check=False, env=os.environ
            )
        except FileNotFoundError:
            raise CompositionError("there is no docker command: install Docker with its compose plugin.") from None
        except subprocess.TimeoutExpired:
            raise CompositionError(f"{' '.join(command)}: not done after {limit_seconds:.0f} s") from None
        if done.returncode:
            last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-20:])
            raise CompositionError(f"{' '.join(command)} ended with status {done.returncode}:\n{last}")
        return done.stdout

    def containers(self) -> list[dict[str, Any]]:
        """Service, State and Health of each container, those that have ended included."""
        lines = self.run("ps", "--all", "--format", "json").splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def running(self) -> list[str]:
        return sorted(found["Service"] for found in self.containers() if found["State"] == "running")

    def until_running(self, service: str, limit_seconds: float) -> float:
        """Seconds until `service` runs; it is looked at until then, at most `limit_seconds`."""
        return self._until(lambda: service in self.running(), f"{service} runs", limit_seconds)

    def until_healthy(self, limit_seconds: float) -> float:
        """Seconds until every running container with a health check calls itself healthy."""
        return self._until(lambda: not self.unhealthy(), "every service is healthy", limit_seconds)

    def unhealthy(self) -> list[str]:
        return sorted(
            f"{found['Service']} ({found['Health'] or found['State']})"
            for found in self.containers()
            if found["Service"] != "topics" and (found["State"] != "running" or found["Health"] not in ("", "healthy"))
        )

    def _until(self, is_so: Any, what: str, limit_seconds: float) -> float:
        began = time.monotonic()
        while not is_so():
            if time.monotonic() - began > limit_seconds:
                raise CompositionError(f"after {limit_seconds:.0f} s it was not so that {what}: {self.unhealthy()}")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - began

    def said(self, lines: int = 8) -> str:
        """The end of every service's log, for the report of a failure."""
        try:
            return self.run("logs", "--no-color", "--tail", str(lines))
        except CompositionError as error:
            return str(error)
