"""`python -m benchmarks.headline`: ALTO's experiment, on simulated engines or on vLLM, behind real Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import tempfile
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks.headline import figures
from benchmarks.headline.dummy_llama import VOCABULARY
from benchmarks.headline.report import PLOT_FILE, plot, result
from benchmarks.headline.setup import Machine, Setup, asked_of_driver, said_by
from benchmarks.headline.sweep import Results, Sweep, machine_line, read, sweep

DESCRIPTION_FILE: Final = "description.json"
RESULT_FILE: Final = "result.json"


def main(
    engine: Annotated[str, typer.Option(help="simulated or vllm.")] = "simulated",
    workers: Annotated[
        int | None, typer.Option(help="Engine processes; without it 8 simulated ones, 4 of vllm.")
    ] = None,
    model_size: Annotated[str, typer.Option(help=f"Of the dummy Llama for vllm: {', '.join(VOCABULARY)}.")] = "1b",
    gpu_memory_fraction: Annotated[float, typer.Option(help="Of the GPU's memory, for each engine.")] = 0.2,
    engine_args: Annotated[
        str, typer.Option(help="JSON: more settings of the engine (of vllm: AsyncEngineArgs).")
    ] = "{}",
    arms: Annotated[
        str, typer.Option(help=f"Comma-separated; there are also {', '.join(figures.MORE_ARMS)}.")
    ] = ",".join(figures.ARMS),
    variants: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(figures.VARIANTS),
    rates: Annotated[str, typer.Option(help="Requests a second, comma-separated; found by itself without.")] = "",
    growth: Annotated[float, typer.Option(help="From one rate to the next, where they are found.")] = 1.5,
    seconds: Annotated[
        float | None, typer.Option(help="Of arrivals at each rate; without it 15 for simulated engines, 10 for vllm.")
    ] = None,
    idle_requests: Annotated[int, typer.Option(help="For the idle latency, one after the other.")] = 4,
    seed: int = 1,
    speed: Annotated[
        float | None, typer.Option(help="Simulated seconds in a real one; without it a tenth for each core, at most 1.")
    ] = None,
    scale: Annotated[float, typer.Option(help="Factor on all lengths, for slow engines.")] = 1.0,
    stage_processes: Annotated[int, typer.Option(help="Processes for each pipeline.")] = 1,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Seconds, from when all is ready; no point is begun that would end later. Without it 3,600, 360 for vllm."
        ),
    ] = None,
    keep_saturated: Annotated[
        bool, typer.Option(help="Give figures although the CPU was short: to try things out, never to report.")
    ] = False,
    bootstrap: Annotated[str | None, typer.Option(help="A Kafka that runs; without it one is started.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for points, result and plot; it may hold those of other seeds.")
    ] = None,
    only_summarise: Annotated[bool, typer.Option(help="Measure nothing: what the folder of --out holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line.")] = False,
) -> None:
    """Measure request latency against rate for each arm. The last line is one JSON object; --out keeps every point."""
    is_simulated = engine == "simulated"
    if speed is None:
        speed = min(1.0, 0.1 * (os.cpu_count() or 1)) if is_simulated else 1.0
    machine = Machine(
        engine=engine, workers=workers or (8 if is_simulated else 4), model_size=model_size,
        gpu_memory_fraction=gpu_memory_fraction, engine_args=json.loads(engine_args), speed=speed, scale=scale,
        stage_processes=stage_processes, bootstrap=bootstrap,
    )  # fmt: skip
    plan = Sweep(
        arms=_chosen(arms, (*figures.ARMS, *figures.MORE_ARMS)), variants=_chosen(variants, figures.VARIANTS),
        rates=[float(r) for r in rates.split(",") if r], first_load=1.0 if is_simulated else 3.0, growth=growth,
        seconds=seconds or (15.0 if is_simulated else 10.0), idle_requests=idle_requests, seed=seed,
        budget_seconds=budget or (3_600.0 if is_simulated else 360.0), keep_saturated=keep_saturated,
    )  # fmt: skip
    check(machine, plan)
    with tempfile.TemporaryDirectory() as temporary:
        folder = out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not only_summarise:
            description = json.dumps(described(machine, plan), indent=1)
            (folder / DESCRIPTION_FILE).write_text(description, encoding="utf-8")
            try:
                asyncio.run(measure(machine, plan, folder, quiet=as_json))
            except asyncio.CancelledError:
                typer.echo("stopped by SIGTERM: what was measured by then counts", err=True)
        summarise(folder)
        typer.echo((folder / RESULT_FILE).read_text(encoding="utf-8").strip())


def check(machine: Machine, plan: Sweep) -> None:
    """Raises typer.BadParameter for what cannot be measured."""
    if machine.engine not in ("simulated", "vllm"):
        raise typer.BadParameter("--engine is simulated or vllm")
    if machine.model_size not in VOCABULARY:
        raise typer.BadParameter(f"--model-size is one of {', '.join(VOCABULARY)}")
    if machine.engine == "vllm" and machine.speed != 1.0:
        raise typer.BadParameter("only simulated time has a --speed")
    if figures.LANGGRAPH in plan.arms and find_spec("langgraph") is None:
        raise typer.BadParameter(
            "the arm langgraph needs the package langgraph (extra `bench`); or leave it out of --arms"
        )
    if machine.engine == "vllm" and find_spec("vllm") is None:
        raise typer.BadParameter("vLLM is not installed here")


def _chosen(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise typer.BadParameter(f"there is no {unknown or 'choice'}; there are {', '.join(known)}")
    return names


def described(machine: Machine, plan: Sweep) -> dict[str, Any]:
    """What a reader needs to repeat the run."""
    commit = said_by("git", "rev-parse", "--short", "HEAD")
    return {
        "engine": machine.engine, "workers": machine.workers, "speed": machine.speed, "scale": machine.scale,
        "model_size": machine.model_size if machine.engine == "vllm" else None,
        "engine_args": dict(machine.engine_args), "stage_processes": machine.stage_processes,
        "seconds": plan.seconds, "keep_saturated": plan.keep_saturated, "seed": plan.seed, "arms": list(plan.arms),
        "commit": commit, "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}, {asked_of_driver('name') or 'no GPU'}",
    }  # fmt: skip


async def measure(machine: Machine, plan: Sweep, folder: Path, *, quiet: bool) -> None:
    """All points, into the folder; SIGTERM ends it in order, by cancelling it."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with Setup(machine, plan.arms) as setup:
        await sweep(
            plan, setup, Results(folder), machine.sizes, speed=machine.speed, engines=machine.workers,
            is_simulated=machine.engine == "simulated", said=lambda line: None if quiet else typer.echo(line),
        )  # fmt: skip


def summarise(folder: Path) -> None:
    """Result and plot from the points of a folder."""
    description = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    points = read(folder)
    found = {
        **result(points, is_simulated=description["engine"] == "simulated"),
        **description,
        "cores": machine_line(),
    }
    (folder / RESULT_FILE).write_text(json.dumps(found) + "\n", encoding="utf-8")
    if any(p["kind"] == "load" for p in points) and find_spec("matplotlib") is not None:
        plot(points, f"{description['workers']} {description['engine']} engines", folder / PLOT_FILE)


if __name__ == "__main__":
    typer.run(main)
