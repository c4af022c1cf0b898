"""Plays a page as its reader would: saves its files, types its commands, compares what they print."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Self

from tests.docs.blocks import Block

COMMAND_SECONDS_MAX: Final = 240.0
READY_SECONDS_MAX: Final = 120.0
LEAVE_SECONDS_MAX: Final = 40.0
POLL_SECONDS: Final = 0.1


class Player(AbstractContextManager["Player"]):
    """One reader at one page; what runs in the background ends when the reader leaves."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder: Final = folder
        self._environment: Final = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **environment}
        self._running: Final[list[subprocess.Popen[bytes]]] = []
        self._said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        ends_at = time.monotonic() + LEAVE_SECONDS_MAX
        for process in self._running:
            try:
                process.wait(max(0.1, ends_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def play(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            match block:
                case Block(language="text"):
                    assert fits(block.text, self._said), f"{block.place}: printed was\n{self._said}"
                case Block(is_file=True):
                    path = self._folder / block.word
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(block.text)
                case Block(language="sh", word="background"):
                    self._start(block)
                case Block(language="sh", word="install"):
                    pass  # the environment has it already; tests/integration/test_package.py installs from nothing
                case Block(language="sh"):
                    self._type(block)
                case _:
                    raise AssertionError(f"{block.place}: a reader cannot know what to do with this block")

    def _type(self, block: Block) -> None:
        # Port 9092 may be somebody's; commands find the broker wherever it is.
        text = block.text.replace("descant broker up", "descant broker up --port 0")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        self._said = done.stdout
        assert done.returncode == 0, f"{block.place} ended with {done.returncode}:\n{done.stdout}\n{self._background()}"

    def _start(self, block: Block) -> None:
        log = self._folder / f"terminal-{len(self._running)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {'env ' if '=' in block.text.split()[0] else ''}{block.text}"],
                cwd=self._folder,
                env=self._environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        ends_at = time.monotonic() + READY_SECONDS_MAX
        while "ready" not in log.read_text():
            assert process.poll() is None, f"{block.place} ended with {process.returncode}:\n{log.read_text()}"
            assert time.monotonic() < ends_at, f"{block.place} was not ready:\n{log.read_text()}"
            time.sleep(POLL_SECONDS)

    def _background(self) -> str:
        logs = sorted(self._folder.glob("terminal-*.log"))
        return "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in logs)


def fits(expected: str, said: str) -> bool:
    """Whether the lines expected follow each other in what was said; … stands for anything, also for lines."""
    lines = [re.sub(r"[ ]+", " ", line).strip() for line in expected.strip().splitlines()]
    pattern = r"\n".join(re.escape(line) for line in lines).replace("…", ".*?")
    plain = "\n".join(re.sub(r"[ ]+", " ", line).strip() for line in said.splitlines())
    return re.search(pattern, plain, re.DOTALL) is not None
