"""The fit: what a simulated engine with known constants measures must be found again on cells that it has not seen."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.routing import calibrate, grid
from benchmarks.routing.grid import Cell, Constants, Measured
from benchmarks.routing.hardware import Hardware
from streams.errors import ConfigError

ABOUT = {"hardware": "a processor", "model": "tiny", "vllm": "none"}
TRUE = Constants(
    Hardware(overhead=0.012, prefill=2e-4, attention=4e-8, decode=9e-4, context=4e-7, kv_tokens=60_000, sequences=12),
    request=0.003,
)


def measured(noise: float, seed: int = 1) -> dict[Cell, Measured]:
    rng, found = random.Random(seed), {}  # noqa: S311
    for cell in grid.cells(is_gpu=False)[::2]:  # outputs of 8 tokens: quicker
        real = grid.simulate(TRUE, cell, cell.users * 2)
        found[cell] = replace(real, ttft=real.ttft * rng.lognormvariate(0, noise))
    return found


def test_known_constants_are_found_again_from_noisy_measurements() -> None:
    real = measured(noise=0.05)
    fit = calibrate.half_of(real, random.Random(1))  # noqa: S311
    start = Hardware(kv_tokens=60_000, sequences=12)
    found = calibrate.fitted(calibrate.first_guess(start, fit), fit)
    report = calibrate.report(ABOUT, found, measured(noise=0.0), fit)
    assert report["calibration_error"] < 0.05
    assert report["cells_held_back"] == len(real) // 2


def test_an_engine_of_other_speed_is_told_apart() -> None:
    real = measured(noise=0.0)
    wrong = replace(TRUE, hardware=replace(TRUE.hardware, slowness=1.5))
    assert calibrate.report(ABOUT, wrong, real, {})["calibration_error"] > 0.25
    assert calibrate.report(ABOUT, TRUE, real, {})["calibration_error"] == 0


def test_shared_prefixes_shorten_the_first_token_only_where_they_are_long() -> None:
    none, half = (grid.simulate(TRUE, Cell(1_024, 1, shared, 8), 4).ttft for shared in (0.0, 0.5))
    assert half < 0.7 * none


def test_a_stored_result_can_be_fitted_again_and_anything_else_is_refused(tmp_path: Path) -> None:
    real = measured(noise=0.0)
    stored = calibrate.report(ABOUT, TRUE, real, calibrate.half_of(real, random.Random(1)))  # noqa: S311
    path = tmp_path / "result.json"
    path.write_text(json.dumps(stored))
    again = calibrate.refitted(path)
    assert again["hardware"] == "a processor"
    assert again["calibration_error"] < 0.05
    assert calibrate.hardware_of(again).kv_tokens == 60_000
    for nonsense in ("", "[]", "{}", json.dumps({**stored, "cells": [{"prompt": 1}]})):
        path.write_text(nonsense)
        with pytest.raises(ConfigError):
            calibrate.refitted(path)
