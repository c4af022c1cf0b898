"""A bounded round of chaos for every build, and the checker's own proof: what it must find, it finds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.chaos.fleet import ROOT
from tests.chaos.schedule import SESSION_SECONDS, WEIGHTS, draw


@pytest.mark.chaos
@pytest.mark.timeout(600)  # on a busy machine; the round itself lasts half a minute
@pytest.mark.parametrize(
    ("pipeline", "seed", "more"),
    [
        ("generated", 11, ["--network", "--small-queues"]),
        ("reviewed", 3, []),
    ],
)
def test_every_request_is_answered_once_and_whole_whatever_is_killed(pipeline: str, seed: int, more: list[str]) -> None:
    flags = ["--seed", str(seed), "--requests", "30", "--minutes", "0.5", "--kills-min", "3", "--pauses-min", "1"]
    command = [sys.executable, "-m", "tests.chaos", *flags, "--pipelines", pipeline, *more, "--json"]
    played = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    result = json.loads(played.stdout.splitlines()[-1])
    assert played.returncode == 0, f"{json.dumps(result)}\n{played.stderr[-4000:]}"
    assert result["requests"] == result["answered"] == 30
    assert result["kills"] >= 3
    assert result["pauses"] >= 1


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_operators_may_add_retire_and_renew_processes_and_the_broker_may_fall_silent() -> None:
    command = [sys.executable, "-m", "tests.chaos.drills", "tour", "--rate", "2", "--json"]
    played = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    result = json.loads(played.stdout.splitlines()[-1])
    assert played.returncode == 0, f"{json.dumps(result)}\n{played.stderr[-4000:]}"
    assert result["requests"] == result["answered"] > 0
    assert set(result["answers_by_version"]) == {"1", "2"}


def test_a_seed_draws_the_same_schedule_every_time() -> None:
    names = [f"p-{i}" for i in range(6)]
    assert draw(7, names, 300, 3) == draw(7, names, 300, 3)
    assert draw(7, names, 300, 3) != draw(8, names, 300, 3)


def test_a_schedule_holds_as_many_of_a_kind_as_are_asked_for() -> None:
    asked = {"kill": 100, "pause": 20, "broker-restart": 3}
    drawn = Counter(fault.what for fault in draw(9, [f"p-{i}" for i in range(14)], 540, 4, at_least=asked))
    assert all(drawn[kind] >= count for kind, count in asked.items()), drawn
    assert drawn.total() <= 540 / 4 + 1


def test_a_schedule_holds_faults_of_every_kind_and_never_two_of_one_process_at_once() -> None:
    faults = draw(5, ["a", "b"], 600, 2)
    assert {fault.what for fault in faults} == set(WEIGHTS)
    assert all(f.lasts > SESSION_SECONDS for f in faults if f.what == "pause")
    until: dict[str, float] = {}
    for fault in faults:
        assert fault.at >= until.get(fault.target, 0.0)
        until[fault.target] = fault.at + fault.lasts
