"""A service whose Kafka client has lost its cluster starts anew: the same process, command and standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = """
import asyncio, multiprocessing, sys, time
from pathlib import Path
from streams.cli.service import run_until_stopped
from streams.errors import LostContactError

lives = Path(sys.argv[1])

class Service:
    async def __aenter__(self):
        lives.write_text(lives.read_text() + "x")
        if len(lives.read_text()) == 1:
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
            child.start()
            lives.with_suffix(".child").write_text(str(child.pid))
        return self
    async def wait(self):
        if len(lives.read_text()) > 1:
            await asyncio.Event().wait()
        await asyncio.sleep(0.1)
        raise LostContactError("gone")
    async def __aexit__(self, *_):
        {leaving}

run_until_stopped(Service(), {{"life": len(lives.read_text())}}, as_json=True)
"""


@pytest.mark.parametrize("leaving", ["pass", "raise ValueError('cannot leave in order')"])
def test_a_service_that_has_lost_contact_starts_anew(tmp_path: Path, leaving: str) -> None:
    lives = tmp_path / "lives"
    lives.touch()
    command = [sys.executable, "-c", SERVICE.format(leaving=leaving), str(lives)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        said = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [line["life"] for line in said] == [0, 1]
        child = Path("/proc", lives.with_suffix(".child").read_text(), "status")
        assert not child.exists() or "zombie" in child.read_text(), "what the first life had started goes on"
        lives.write_text("x")  # so that it can leave in order
        os.kill(process.pid, signal.SIGTERM)
        process.wait(20)
    assert (process.returncode == 0) == (leaving == "pass")


def test_a_service_that_was_told_to_end_does_not_start_anew(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    lives.write_text("x")  # its first life waits to be told
    command = [sys.executable, "-c", SERVICE.format(leaving="raise LostContactError('gone')"), str(lives)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["life"] == 1
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
    assert lives.read_text() == "xx"
