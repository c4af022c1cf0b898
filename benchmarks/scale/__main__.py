"""What grows with what is in flight: chunks, joins, memory, instances.

    python -m benchmarks.scale [--json] [--save] [--rounds 5] [--chunks 4000] [--only core]

`core`: the pure core by itself, CPU of one thread: records in, effects out, 10 to 10,000 texts in flight, joins of 1
to 10,000 children, bytes held by an open request (tracemalloc). `runtime`: real processes on a real Kafka: CPU of a
stage's process for each chunk with 10 to 10,000 texts open, and records a second with 1, 2 and 4 instances of a stage
that works 200 µs on a record. Figures are medians over the rounds, in which the sizes take turns.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks.results import Save, report
from benchmarks.scale import core, runtime
from streams.broker import EmbeddedKafka

IN_FLIGHT: Final = (10, 100, 1_000, 10_000)
FAN_OUTS: Final = (1, 10, 100, 1_000, 10_000)
INSTANCES: Final = (1, 2, 4)
REQUESTS_HELD: Final = 500


def main(
    rounds: Annotated[int, typer.Option(help="In which all sizes take turns.")] = 5,
    chunks: Annotated[int, typer.Option(help="A round and size; ten times as many in the runtime.")] = 4_000,
    records: Annotated[int, typer.Option(help="For instances.")] = 20_000,
    only: Annotated[list[str] | None, typer.Option(help="`core`, `runtime`; both without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line.")] = False,
    save: Save = False,
) -> None:
    """Measure what grows with what is in flight."""
    parts = only or ["core", "runtime"]
    figures: dict[str, Any] = {"rounds": rounds}
    if "core" in parts:
        figures |= of_core(rounds, chunks)
    if "runtime" in parts:
        figures |= of_runtime(rounds, chunks * 10, records)
    if not as_json:
        for name, value in figures.items():
            print(f"{name:28} {value}")
    report("scale", figures, save=save)


def of_core(rounds: int, chunks: int) -> dict[str, Any]:
    held = core.bytes_per_open_request(REQUESTS_HELD)  # first: it must not count what the others leave
    by_size = core.chunk_microseconds(IN_FLIGHT, rounds, chunks)
    by_fan_out = core.join_microseconds(FAN_OUTS, rounds, max(FAN_OUTS))
    return {
        "chunk_us": _rounded(by_size),
        "chunk_cost_ratio": _ratio(by_size, 10_000, 10),
        "join_us_per_child": _rounded(by_fan_out),
        "join_cost_ratio": _ratio(by_fan_out, 10_000, 10),
        "bytes_per_open_request": round(held),
        "tokens_held_of_a_request": core.TOKENS_OF_TEXT // 2,
    }


def of_runtime(rounds: int, chunks: int, records: int) -> dict[str, Any]:
    by_size: dict[int, list[float]] = defaultdict(list)
    by_instances: dict[int, list[float]] = defaultdict(list)
    with EmbeddedKafka() as kafka, tempfile.TemporaryDirectory() as logs:
        for number in range(rounds):
            for size in IN_FLIGHT:
                found = runtime.chunk_microseconds(kafka.bootstrap, Path(logs), size, chunks, f"r{number}")
                by_size[size].append(found)
        for number in range(min(rounds, 3)):
            for count in INSTANCES:
                rate = runtime.records_a_second(kafka.bootstrap, Path(logs), count, records, f"i{number}")
                by_instances[count].append(rate)
    return {
        "runtime_chunk_us": _rounded(by_size),
        "runtime_chunk_cost_ratio": _ratio(by_size, 10_000, 10),
        "records_per_s_by_instances": _rounded(by_instances, 0),
        "speedup_of_2": _ratio(by_instances, 2, 1),
        "speedup_of_4": _ratio(by_instances, 4, 1),
        "cores": os.cpu_count(),
    }


def _rounded(found: dict[int, list[float]], digits: int = 1) -> dict[str, float]:
    return {str(size): round(statistics.median(values), digits) for size, values in found.items()}


def _ratio(found: dict[int, list[float]], of: int, to: int) -> float:
    """Median over the rounds of the ratios within a round: what else runs on the machine slows both."""
    return round(statistics.median(a / b for a, b in zip(found[of], found[to], strict=True)), 3)


if __name__ == "__main__":
    typer.run(main)
