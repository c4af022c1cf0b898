"""The headline benchmark from end to end, as small as it goes: does it measure what it says, on whatever is there?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from streams.testing import KafkaForTests

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


def test_every_arm_answers_every_request_and_each_point_is_kept(kafka: KafkaForTests, tmp_path: Path) -> None:
    arms = ["baseline", "both", "prefetch"]
    command = [
        *(sys.executable, "-m", "benchmarks.headline", "--workers", "2", "--speed", "1", "--scale", "0.05"),
        *("--seconds", "2", "--rates", "2", "--idle-requests", "1", "--variants", "document", "--keep-saturated"),
        *("--arms", ",".join(arms), "--bootstrap", kafka.bootstrap, "--out", str(tmp_path), "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert {"throughput_ratio", "p99_ratio", "templates_p99_ratio", "langgraph_latency_ratio"} <= set(result)
    assert set(result["variants"]["document"]["idle_by_arm"]) == set(arms)
    points = [json.loads(line) for line in (tmp_path / "points.jsonl").read_text().splitlines()]
    loads = [point for point in points if point["kind"] == "load"]
    assert [point["arm"] for point in loads] == arms
    for point in loads:
        assert point["failed"] == point["unanswered"] == 0
        assert point["n"] > 0
    prompts = {point["arm"]: point["engines"]["prompts"] for point in loads}
    assert prompts["baseline"] == prompts["both"], "an arm forks otherwise than its plan says"
    requests = len({point["n"] for point in loads})
    assert requests == 1, "arms were sent different requests"
    assert prompts["prefetch"] > prompts["both"]
