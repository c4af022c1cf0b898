"""How long until a command answers and a process is ready.

    python -m benchmarks.startup [--json] [--save] [--rounds 5]

`descant --help`, and `descant run` of one stage and of a whole pipeline until the line that says it is ready (topics
exist, the groups are new each time). Wall clock, and the CPU time of the process, which other work changes less.
Medians over the rounds; the first, which reads files and writes byte code, is not counted.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from typing import Annotated, Final

import typer

from benchmarks.hop.pipeline import named
from benchmarks.processes import descant, environment
from benchmarks.results import Save, report
from streams.broker import EmbeddedKafka
from streams.runtime.topics import ensure_topics, topics_of
from streams.settings import KafkaSettings, PipelineSettings

REFERENCE: Final = "benchmarks.hop.pipeline:hop"


def main(
    rounds: Annotated[int, typer.Option(help="After one that is not counted.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line.")] = False,
    save: Save = False,
) -> None:
    """Measure how long until a command answers and a process is ready."""
    found: dict[str, list[tuple[float, float]]] = {"help": [], "stage": [], "pipeline": []}
    with EmbeddedKafka() as kafka:
        for number in range(rounds + 1):
            found["help"].append(until_exit(descant("--help")))
            for name, stages in (("stage", ("--stage", "pass_on")), ("pipeline", ())):
                pipeline = f"startup-{name}-{number}"
                topics = topics_of(named(pipeline).plan, PipelineSettings())
                ensure_topics(KafkaSettings(bootstrap=kafka.bootstrap), topics.values())
                command = descant("run", REFERENCE, "--bootstrap", kafka.bootstrap, "--json", *stages)
                found[name].append(until_ready(command, pipeline))
    figures = {}
    for name, values in found.items():
        what = "help" if name == "help" else f"{name}_ready"
        figures[f"{what}_ms"] = round(statistics.median(wall for wall, _ in values[1:]) * 1000)
        figures[f"{what}_cpu_ms"] = round(statistics.median(cpu for _, cpu in values[1:]) * 1000)
    if not as_json:
        for name, value in figures.items():
            print(f"{name:22} {value}")
    report("startup", {**figures, "rounds": rounds}, save=save)


def until_exit(command: list[str]) -> tuple[float, float]:
    """(wall, CPU) seconds."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    return _ended(process, began)


def until_ready(command: list[str], pipeline: str) -> tuple[float, float]:
    began = time.perf_counter()
    variables = environment(HOP_PIPELINE=pipeline)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=variables)
    if process.stdout is None or b'"ready"' not in process.stdout.readline():
        raise RuntimeError(f"{' '.join(command)} did not become ready")
    wall = time.perf_counter() - began
    process.send_signal(signal.SIGTERM)
    return wall, _ended(process, began)[1]


def _ended(process: subprocess.Popen[bytes], began: float) -> tuple[float, float]:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    typer.run(main)
