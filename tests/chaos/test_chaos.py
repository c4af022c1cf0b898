"""A bounded round of chaos for every build, and the checker's own proof: what it must find, it finds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.chaos.fleet import ROOT
from tests.chaos.schedule import SESSION_SECONDS, WEIGHTS, draw


@pytest.mark.chaos
@pytest.mark.timeout(600)  # on a busy machine; the round itself lasts half a minute
@pytest.mark.parametrize(("pipeline", "seed"), [("generated", 11), ("reviewed", 3)])
def test_every_request_is_answered_once_and_whole_whatever_is_killed(pipeline: str, seed: int) -> None:
    flags = ["--seed", str(seed), "--requests", "30", "--minutes", "0.5", "--pipelines", pipeline, "--json"]
    played = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *flags], cwd=ROOT, capture_output=True, text=True, check=False
    )
    result = json.loads(played.stdout.splitlines()[-1])
    assert played.returncode == 0, f"{json.dumps(result)}\n{played.stderr[-4000:]}"
    assert result["requests"] == result["answered"] == 30
    assert result["kills"] >= 2


def test_a_seed_draws_the_same_schedule_every_time() -> None:
    names = [f"p-{i}" for i in range(6)]
    assert draw(7, names, 300, 3) == draw(7, names, 300, 3)
    assert draw(7, names, 300, 3) != draw(8, names, 300, 3)


def test_a_schedule_holds_faults_of_every_kind_and_never_two_of_one_process_at_once() -> None:
    faults = draw(5, ["a", "b"], 600, 2)
    assert {fault.what for fault in faults} == set(WEIGHTS)
    assert all(f.lasts > SESSION_SECONDS for f in faults if f.what == "pause")
    until: dict[str, float] = {}
    for fault in faults:
        assert fault.at >= until.get(fault.target, 0.0)
        until[fault.target] = fault.at + fault.lasts
