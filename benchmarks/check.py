"""Has something become slower? Runs a benchmark again and compares its ratios with those kept.

    python -m benchmarks.check NAME    (make bench-check NAME=hop)

Ratios within one run hardly depend on the machine; milliseconds do, and are not compared. A ratio may be worse than
the median of the kept runs by as much as those differ among each other, at least by NOISE_MIN. Ends with 1 otherwise.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Annotated, Any, Final

import typer

from benchmarks.results import FOLDER, RATIOS

NOISE_MIN: Final = 0.15
"""Relative: with few kept runs their spread says little. Neighbours on a shared machine move a ratio by as much."""


def main(name: Annotated[str, typer.Argument(help="For example hop.")]) -> None:
    """Compare a fresh run's ratios with those kept in benchmarks/results."""
    file = FOLDER / f"{name}.json"
    if not file.exists() or name not in RATIOS:
        typer.echo(f"error: no kept ratios of {name!r}; run python -m benchmarks.{name} --save first.", err=True)
        raise typer.Exit(2)
    kept = json.loads(file.read_text())
    command = [sys.executable, *kept["command"].split()[1:]]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    fresh = json.loads(done.stdout.splitlines()[-1])
    worse = compare(kept["ratios"], fresh, RATIOS[name])
    for line in worse:
        typer.echo(line)
    typer.echo("slower than what is kept" if worse else "within the noise of what is kept")
    raise typer.Exit(1 if worse else 0)


def compare(kept: list[dict[str, float]], fresh: dict[str, Any], directions: dict[str, int]) -> list[str]:
    """A line for each ratio that is worse than noise explains, or missing."""
    found = []
    for name, direction in directions.items():
        values = [run[name] for run in kept if name in run]
        if not values:
            continue
        usual = statistics.median(values)
        noise = max(NOISE_MIN, (max(values) - min(values)) / usual)
        if name not in fresh:
            found.append(f"{name}: the run did not give it")
        elif direction * (fresh[name] - usual) < -noise * usual:
            found.append(f"{name}: {fresh[name]:g}, usually {usual:g} with a noise of {noise:.0%}")
    return found


if __name__ == "__main__":
    typer.run(main)
