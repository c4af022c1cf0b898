"""`descant demo` as people run it: real Kafka, real model, a process a stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from streams.testing.kafka import KafkaForTests

pytestmark = [pytest.mark.integration, pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(600)]

DESCANT = [sys.executable, "-c", "from streams.cli import main; main()", "demo", "--json"]
RUN_SECONDS_MAX = 540


def started(*arguments: str, mark: str) -> subprocess.Popen[str]:
    """Its children inherit the mark, by which they can be found however they were started."""
    return subprocess.Popen(
        [*DESCANT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DEMO_TEST_MARK": mark},
    )


def alive(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            marked = f"DEMO_TEST_MARK={mark}".encode() in (process / "environ").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if marked and state not in {"Z", "X"}:
            found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def test_every_question_is_answered_and_checked_while_it_is_written(kafka: KafkaForTests) -> None:
    mark = uuid.uuid4().hex
    demo = started("--questions", "2", "--bootstrap", kafka.bootstrap, mark=mark)
    out, err = demo.communicate(timeout=RUN_SECONDS_MAX)
    assert demo.returncode == 0, err[-2_000:]
    said = json.loads(out.splitlines()[-1])
    assert (said["requests"], said["answered"], said["errors"]) == (2, 2, 0)
    assert said["multi_claim"] == 2
    # Of two, because other tests use the cores meanwhile: a worker that is kept waiting can let a draft end first.
    assert said["first_verdict_before_draft_end"] >= 1
    assert said["median_first_verdict_s"] < said["median_answer_s"]
    assert said["median_answer_s_without_streaming"] > 0
    assert "Gemma Terms of Use" in err
    assert alive(mark) == []


@pytest.mark.parametrize("moment", ["starting Apache Kafka", "is ready (3 of", "Streaming between"])
def test_ctrl_c_leaves_no_process_and_no_traceback(moment: str) -> None:
    mark = uuid.uuid4().hex
    demo = started("--questions", "1", mark=mark)
    assert demo.stderr is not None
    told = []
    for line in demo.stderr:
        told.append(line)
        if moment in line:
            break
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 130, "".join(told) + err
    assert "Traceback" not in err
    assert alive(mark) == []
