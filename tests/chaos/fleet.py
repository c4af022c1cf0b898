"""The processes of a round: real `descant` commands, started again by whoever killed them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]

DIE_WITH_PARENT = "import ctypes; ctypes.CDLL(None).prctl(1, 9); " if sys.platform == "linux" else ""
"""PR_SET_PDEATHSIG, SIGKILL: nothing is left when the round itself is killed. Elsewhere `Fleet.close` sees to it."""

TELL_STACKS = "import faulthandler, signal; faulthandler.register(signal.SIGUSR1); "

PRELUDE = DIE_WITH_PARENT + TELL_STACKS

DESCANT = "streams.cli"
"""The module whose `main` a process runs."""

STOP_SECONDS_MAX = 30.0
"""A process that has not handed back and ended after this long is killed, and that is a fault."""

MEASURE_SECONDS = 0.5
"""Between looks at the processes' memory."""

RESTART_SECONDS = 1.0
"""Until a process that ended by itself is started again."""


@dataclass(slots=True)
class Member:
    """One process under supervision, through all its lives."""

    name: str
    arguments: tuple[str, ...]
    groups: tuple[str, ...]
    """Consumer groups that it is a member of."""
    module: str = DESCANT
    environment: dict[str, str] = field(default_factory=dict)
    """Of its next life, beside the fleet's."""
    process: subprocess.Popen[bytes] | None = None
    start_at: float | None = 0.0
    """When to start it again; None while it runs."""
    resume_at: float | None = None
    kill_at: float | None = None
    """When a stop has taken too long."""
    stopped_at: float = 0.0
    lives: int = 0
    is_expected_down: bool = True
    rss_mb: float = 0.0
    peak_rss_mb: int = 0

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass(slots=True)
class Fleet:
    folder: Path
    environment: Mapping[str, str]
    members: dict[str, Member] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """A process that ended by itself, or did not end when told to."""
    stop_seconds: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _is_over: bool = False
    _measure_at: float = 0.0
    _logs: list[IO[bytes]] = field(default_factory=list)

    def add(self, name: str, arguments: Sequence[str], groups: Sequence[str], module: str = DESCANT) -> None:
        """It is started with the next tick."""
        self.members[name] = Member(name, tuple(arguments), tuple(groups), module)

    def note(self, line: str) -> None:
        self.events.append(f"{int(time.time() * 1000)} {time.monotonic() - self.began:8.2f} s  {line}")

    def tick(self) -> None:
        """Start, resume and bury what is due."""
        now = time.monotonic()
        for member in self.members.values():
            if member.resume_at is not None and now >= member.resume_at:
                self._signal(member, signal.SIGCONT)
                member.resume_at = None
            if member.kill_at is not None and now >= member.kill_at:
                self.faults.append(f"{member.name} did not end {STOP_SECONDS_MAX} s after SIGTERM")
                self._signal(member, signal.SIGUSR1)
                self.kill(member.name, 0.0)
            if member.process is not None and member.process.poll() is not None:
                self._bury(member, now)
            if member.process is None and member.start_at is not None and now >= member.start_at and not self._is_over:
                self._start(member)
        if now >= self._measure_at:
            self._measure_at = now + MEASURE_SECONDS
            for member in self.members.values():
                self._measure(member)

    def _start(self, member: Member) -> None:
        member.lives += 1
        member.start_at, member.is_expected_down = None, False
        output = self._open(member, "out")
        member.process = subprocess.Popen(
            [sys.executable, "-c", f"{PRELUDE}from {member.module} import main; main()", *member.arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment, **member.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=self._open(member, "err"),
            start_new_session=True,
        )
        self.note(f"{member.name} starts, life {member.lives}, pid {member.process.pid}")

    def _open(self, member: Member, kind: str) -> IO[bytes]:
        opened = (self.folder / f"{member.name}.{member.lives}.{kind}").open("wb")
        self._logs.append(opened)
        return opened

    def _bury(self, member: Member, now: float) -> None:
        if member.process is None:
            return
        status = member.process.returncode
        member.process = None
        self.note(f"{member.name} ended with status {status}")
        if member.kill_at is not None:
            member.kill_at = None
            self.stop_seconds.append(now - member.stopped_at)
            if status and not (status == -signal.SIGTERM and not self._has_said_ready(member)):  # not up yet
                self.faults.append(f"{member.name} ended with status {status} after SIGTERM: {self.last_words(member)}")
        elif not member.is_expected_down:
            self.faults.append(f"{member.name} ended by itself, status {status}: {self.last_words(member)}")
            member.start_at = now + RESTART_SECONDS

    def last_words(self, member: Member) -> str:
        lines = (self.folder / f"{member.name}.{member.lives}.err").read_text(errors="replace").splitlines()
        return " | ".join(line[-400:] for line in lines[-3:])

    # -- faults ----------------------------------------------------------------------------------------------------

    def kill(self, name: str, down_seconds: float) -> bool:
        member = self.members[name]
        if not member.is_up:
            return False
        member.is_expected_down, member.resume_at, member.kill_at = True, None, None
        self._signal(member, signal.SIGKILL)
        member.start_at = time.monotonic() + down_seconds
        return True

    def pause(self, name: str, seconds: float) -> bool:
        member = self.members[name]
        if not member.is_up:
            return False
        self._signal(member, signal.SIGSTOP)
        member.resume_at = time.monotonic() + seconds
        return True

    def stop(self, name: str, down_seconds: float | None) -> bool:
        """None: for good."""
        member = self.members[name]
        if not member.is_up:
            member.start_at = None if down_seconds is None else member.start_at
            return False
        if member.resume_at is not None:
            self._signal(member, signal.SIGCONT)
            member.resume_at = None
        member.is_expected_down = True
        member.stopped_at = time.monotonic()
        member.kill_at = member.stopped_at + STOP_SECONDS_MAX
        self._signal(member, signal.SIGTERM)
        member.start_at = None if down_seconds is None else member.stopped_at + down_seconds
        return True

    def _signal(self, member: Member, number: signal.Signals) -> None:
        if member.process is not None:
            self.note(f"{member.name} gets {number.name}")
            member.process.send_signal(number)

    # -- the whole of it -------------------------------------------------------------------------------------------

    def not_ready(self) -> list[str]:
        """Processes whose present life has not said that it is ready; those that are to stay away do not count."""
        return [
            m.name for m in self.members.values() if (m.process or m.start_at is not None) and not self._is_ready(m)
        ]

    def _is_ready(self, member: Member) -> bool:
        return member.is_up and self._has_said_ready(member)

    def _has_said_ready(self, member: Member) -> bool:
        path = self.folder / f"{member.name}.{member.lives}.out"
        if not path.exists():
            return False
        return any(_is_ready_line(line) for line in path.read_text(errors="replace").splitlines())

    def _measure(self, member: Member) -> None:
        if member.process is None:
            return
        try:
            status = Path(f"/proc/{member.process.pid}/status").read_text()
        except OSError:
            return
        found = dict(re.findall(r"(VmHWM|VmRSS):\s+(\d+) kB", status))
        if len(found) == 2:  # not of one that has just died
            member.peak_rss_mb = max(member.peak_rss_mb, int(found["VmHWM"]) // 1024)
            member.rss_mb = int(found["VmRSS"]) / 1024

    def times_said(self, event: str) -> int:
        """Over all processes and lives."""
        return sum(path.read_text(errors="replace").count(f'"{event}"') for path in self.folder.glob("*.err"))

    def tell_stacks(self) -> None:
        """Every process writes where its threads are into its log, for people who read the history."""
        for member in self.members.values():
            if member.is_up and self._has_said_ready(member):
                self._signal(member, signal.SIGUSR1)

    def end(self) -> None:
        """Stop everything in order, for good."""
        self._is_over = True
        for name in self.members:
            self.stop(name, None)
        while any(m.process is not None for m in self.members.values()):
            for member in self.members.values():
                if member.process is not None:
                    try:
                        member.process.wait(0.05)
                    except subprocess.TimeoutExpired:
                        continue
            self.tick()

    def close(self) -> None:
        """Whatever happened: nothing is left running."""
        for member in self.members.values():
            if member.is_up and member.process is not None:
                member.process.kill()
                member.process.wait()
        for opened in self._logs:
            opened.close()


def _is_ready_line(line: str) -> bool:
    try:
        return bool(json.loads(line).get("event") == "ready")
    except (ValueError, AttributeError):
        return False
