"""`descant demo` as people run it: real Kafka, real model, a process a stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from streams.broker.ports import free_port
from streams.testing.kafka import KafkaForTests
from tests.docs.blocks import ROOT, blocks
from tests.docs.player import Player

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


def test_a_real_openai_compatible_server_answers(
    kafka: KafkaForTests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that the example's page tells how to run."""
    port = str(free_port())
    monkeypatch.setenv("DESCANT_OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    page = list(blocks(ROOT / "examples" / "factcheck" / "README.md"))
    server = next(block for block in page if block.word == "serve.py")
    run = next(block for block in page if block.word == "background")
    mark = uuid.uuid4().hex
    with Player(tmp_path, {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}) as reader:
        reader.play([replace(server, text=server.text.replace("8000", port)), run])
        demo = started("--engine", "openai", "--questions", "1", "--bootstrap", kafka.bootstrap, mark=mark)
        out, err = demo.communicate(timeout=RUN_SECONDS_MAX)
    assert demo.returncode == 0, err[-2_000:]
    said = json.loads(out.splitlines()[-1])
    assert (said["requests"], said["answered"], said["errors"]) == (1, 1, 0)
    assert said["multi_claim"] == 1
    assert alive(mark) == []


def test_no_openai_compatible_server_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCANT_OPENAI_BASE_URL", f"http://127.0.0.1:{free_port()}/v1")
    demo = started("--engine", "openai", mark=uuid.uuid4().hex)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert "no OpenAI-compatible server at http://127.0.0.1" in err
    assert "Apache Kafka" not in err


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
