"""The fit: what a simulated engine with known constants measures must be found again on cells that it has not seen."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from benchmarks.routing import calibrate, grid
from benchmarks.routing.engine import Hardware
from benchmarks.routing.grid import Cell, Constants, Measured

TRUE = Constants(
    Hardware(overhead=0.012, prefill=2e-4, attention=4e-8, decode=9e-4, context=4e-7, kv_tokens=60_000, sequences=12),
    request=0.003,
)


def measured(noise: float, seed: int = 1) -> dict[Cell, Measured]:
    rng, found = random.Random(seed), {}  # noqa: S311
    for cell in grid.cells(is_gpu=False):
        real = grid.simulate(TRUE, cell, cell.users * 2)
        found[cell] = replace(real, ttft=real.ttft * rng.lognormvariate(0, noise))
    return found


@pytest.mark.timeout(60)
def test_known_constants_are_found_again_from_noisy_measurements() -> None:
    real = measured(noise=0.05)
    fit = calibrate.half_of(real, random.Random(1))  # noqa: S311
    start = Hardware(kv_tokens=60_000, sequences=12)
    found = calibrate.fitted(calibrate.first_guess(start, fit), fit)
    report = calibrate.report("a processor", "tiny", found, measured(noise=0.0), fit)
    assert report["calibration_error"] < 0.05
    assert report["cells_held_back"] == len(real) // 2


def test_an_engine_of_other_speed_is_told_apart() -> None:
    real = measured(noise=0.0)
    wrong = Constants(replace(TRUE.hardware, slowness=1.5), TRUE.request)
    assert calibrate.report("a processor", "tiny", wrong, real, {})["calibration_error"] > 0.25
    assert calibrate.report("a processor", "tiny", TRUE, real, {})["calibration_error"] == 0


def test_shared_prefixes_shorten_the_first_token_only_where_they_are_long() -> None:
    none, half = (grid.simulate(TRUE, Cell(1_024, 1, shared, 8), 4).ttft for shared in (0.0, 0.5))
    assert half < 0.7 * none
