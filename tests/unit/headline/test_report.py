"""From the points that a run has left to the object and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.headline import page, report
from benchmarks.headline.sweep import Results, curves, read
from streams.errors import ConfigError


def load(arm: str, rate: float, latencies: list[float], **more: Any) -> dict[str, Any]:
    engines = {
        "prompts": 9,
        "prompt_tokens": 900,
        "cached_share": 0.5,
        "first_token_ms": 30.0,
        "between_tokens_ms": 8.0,
    }
    return {"kind": "load", "variant": "document", "arm": arm, "rate": rate, "n": len(latencies), "failed": 0,
            "unanswered": 0, "saturated": False, "machine_busy": 0.4, "cores": {"kafka": 0.2}, "engines": engines,
            "latencies": latencies, **more}  # fmt: skip


def idle(arm: str, latency: float) -> dict[str, Any]:
    return {"kind": "idle", "variant": "document", "arm": arm, "n": 1, "latencies": [latency]}


POINTS = [
    idle("baseline", 3.0),
    idle("both", 2.5),
    load("baseline", 1.0, [3.0, 3.0]),
    load("both", 1.0, [2.5, 2.5]),
    load("langgraph", 1.0, [5.0, 5.0]),
    load("baseline", 2.0, [7.0, 9.0]),
    load("both", 2.0, [3.0, 3.0]),
    load("both", 4.0, [5.0, 5.0]),
]


def test_points_survive_a_run_that_is_cut_off(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for point in POINTS:
        results.add(point)
        assert read(tmp_path) == results.points


def test_the_object_has_what_is_promised() -> None:
    found = report.result(POINTS, is_simulated=True)
    # The baseline passes 4 s at 1.2 requests a second, both at 3.
    assert found["throughput_ratio"] == pytest.approx(2.5)
    assert found["langgraph_latency_ratio"] == 2.0
    assert found["throughput_ratio_streaming_only"] is None
    assert found["variants"]["document"]["idle_by_arm"] == {"baseline": 3.0, "both": 2.5}
    assert json.dumps(found)


def test_other_engines_have_a_target_of_their_own() -> None:
    assert report.result(POINTS, is_simulated=False)["variants"]["document"]["target"] == 4.5


def test_points_of_several_seeds_at_one_rate_become_one() -> None:
    same = [load("both", 1.0, [1.0, 2.0]), load("both", 1.0, [3.0, 4.0])]
    (point,) = curves(same, "document")["both"]
    assert point.mean == 2.5
    (point,) = curves([*same, load("both", 1.0, [1.0], saturated=True)], "document")["both"]
    assert not point.is_valid


def test_the_page_has_a_row_for_each_arm_and_each_point(tmp_path: Path) -> None:
    described = {"engine": "simulated", "workers": 8, "speed": 0.2, "machine": "two cores", "cores": "2 cores",
                 "commit": "abc", "date": "2026-01-01", "seed": 1}  # fmt: skip
    target = tmp_path / "page.md"
    target.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.write(target, [{**report.result(POINTS, is_simulated=True), **described}])
    text = target.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| both | 2.50 | 2.50 | " in text
    assert text.count("\n| baseline | ") == 2
    assert text.count("\n| both | ") == 4
    target.write_text("no marks")
    with pytest.raises(ConfigError):
        page.write(target, [])


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="in the extra `bench`")
    report.plot(POINTS, "title", tmp_path / "curves.svg")
    assert "<svg" in (tmp_path / "curves.svg").read_text()
