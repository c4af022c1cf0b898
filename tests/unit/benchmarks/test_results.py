"""What is kept of benchmarks, the page that is made of it, and the check against it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import page, results
from benchmarks.check import compare


def test_the_page_is_what_the_kept_results_give() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.text(), "run python -m benchmarks.page"


def test_a_result_is_kept_with_where_and_of_what_it_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    for rate in (0.4, 0.5):
        results.report("hop", {"rate_to_raw": rate, "raw": {"rate": 1}}, save=True)
    kept = json.loads((tmp_path / "hop.json").read_text())
    assert {"benchmark", "command", "commit", "date", "machine", "versions", "load_average"} <= kept.keys()
    assert kept["ratios"] == [{"rate_to_raw": 0.4}, {"rate_to_raw": 0.5}]
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == kept["figures"]


def test_nothing_is_kept_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    results.report("hop", {"rate_to_raw": 0.4})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fresh", "is_worse"),
    [(0.50, False), (0.44, False), (0.38, True), (0.90, False), (None, True)],
)
def test_a_ratio_that_is_worse_than_the_noise_is_named(fresh: float | None, is_worse: bool) -> None:
    kept = [{"rate_to_raw": value} for value in (0.5, 0.52, 0.48)]
    given = {} if fresh is None else {"rate_to_raw": fresh}
    assert bool(compare(kept, given, {"rate_to_raw": 1})) is is_worse


def test_a_cost_may_fall_and_not_rise() -> None:
    kept = [{"chunk_cost_ratio": 1.0}]
    assert not compare(kept, {"chunk_cost_ratio": 0.5}, {"chunk_cost_ratio": -1})
    assert compare(kept, {"chunk_cost_ratio": 1.3}, {"chunk_cost_ratio": -1})


def test_noise_is_what_the_kept_runs_differ_by() -> None:
    kept = [{"rate_to_raw": value} for value in (0.3, 0.5, 0.7)]
    assert not compare(kept, {"rate_to_raw": 0.2}, {"rate_to_raw": 1})
