"""One stage that passes records on: throughput, hop latency at light load, CPU per record, beside peers in the same run.

    python -m benchmarks.hop [--json] [--save] [--rounds 3] [--records 60000] [--light 200] [--only raw --only descant]

Every round starts each candidate anew and measures it at both sizes; the figures are medians over the rounds, the
spread is (largest - smallest) / median. Top level: 100 bytes; `kilobyte`: 1,000. Descant's records have their
envelope, its stage joins, remembers and marks every record, and a closer beside it answers each request in a
transaction; it shares the cores, but CPU is the stage's. Peers need other library versions: they are measured where
.venv-peers is there or can be made.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.hop.measure import Bench, Feed, Figures
from benchmarks.hop.pipeline import named
from benchmarks.processes import descant, environment, running
from benchmarks.results import Save, report
from streams.broker import EmbeddedKafka
from streams.core.record import Envelope, Headers, Kind
from streams.runtime.topics import ensure_topics, topics_of
from streams.settings import KafkaSettings, PipelineSettings

PEERS: Final = {"quix": "quix", "faust": "faust_agent", "faststream": "faststream_app"}
SLOW: Final = ("faust", "faststream")
PEERS_ENVIRONMENT: Final = Path(".venv-peers")
PEERS_PACKAGES: Final = ("quixstreams==3.28.1", "faststream[confluent]==0.7.8", "faust-streaming==0.15.3")
SIZES: Final = (100, 1000)


def main(
    rounds: Annotated[int, typer.Option(help="Each with every candidate.")] = 3,
    records: Annotated[int, typer.Option(help="For throughput; the slow frameworks get a tenth.")] = 60_000,
    light: Annotated[int, typer.Option(help="Records for latency, 50 a second.")] = 200,
    only: Annotated[list[str] | None, typer.Option(help="Candidates; all without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line.")] = False,
    save: Save = False,
) -> None:
    """Measure one stage that passes records on, beside peers in the same run."""
    names = only or ["raw", "descant", *PEERS]
    if any(name in PEERS for name in names) and not make_peers_environment():
        typer.echo("the peers cannot be installed here: only raw and descant are measured", err=True)
        names = [name for name in names if name not in PEERS]
    found: dict[int, dict[str, list[Figures]]] = {size: defaultdict(list) for size in SIZES}
    with EmbeddedKafka() as kafka, tempfile.TemporaryDirectory() as logs:
        for number in range(rounds):
            for name in names:
                count = records // 10 if name in SLOW else records
                for size in SIZES:
                    run = f"{number}-{size}"
                    figures = measure(name, run, kafka.bootstrap, count, size, light, Path(logs))
                    found[size][name].append(figures)
                    if not as_json:
                        typer.echo(f"round {number + 1}  {name:10} {size:5} bytes  {_line(figures)}")
    report("hop", {**_medians(found[SIZES[0]]), "kilobyte": _medians(found[SIZES[1]]), "rounds": rounds}, save=save)


def _line(f: Figures) -> str:
    return f"{f.rate:9.0f} records/s  p50 {f.p50_ms:6.2f} ms  p99 {f.p99_ms:7.2f} ms  {f.cpu_us:7.2f} us CPU"


def _medians(found: dict[str, list[Figures]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, runs in found.items():
        result[name] = {}
        for field, digits in (("rate", 0), ("p50_ms", 3), ("p99_ms", 3), ("cpu_us", 2)):
            values = [getattr(figures, field) for figures in runs]
            middle = statistics.median(values)
            result[name][field] = round(middle, digits)
            result[name][f"{field}_spread"] = round((max(values) - min(values)) / middle, 2)
    if {"raw", "descant"} <= found.keys():
        raw, ours = result["raw"], result["descant"]
        result["rate_to_raw"] = round(ours["rate"] / raw["rate"], 3)
        result["p50_to_raw"] = round(ours["p50_ms"] / raw["p50_ms"], 3)
        result["cpu_to_raw"] = round(ours["cpu_us"] / raw["cpu_us"], 2)
    return result


def make_peers_environment() -> bool:
    if (PEERS_ENVIRONMENT / "ready").exists():
        return True
    has_uv = subprocess.run(["uv", "--version"], capture_output=True, check=False).returncode == 0
    uv = ["uv"] if has_uv else [sys.executable, "-m", "uv"]
    python = str(PEERS_ENVIRONMENT / "bin" / "python")
    for command in (
        [*uv, "venv", "-q", "--allow-existing", str(PEERS_ENVIRONMENT)],
        [*uv, "pip", "install", "-q", "-p", python, *PEERS_PACKAGES],
    ):
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return False
    (PEERS_ENVIRONMENT / "ready").touch()
    return True


def measure(name: str, run: str, bootstrap: str, records: int, size: int, light: int, logs: Path) -> Figures:
    feed = descant_feed(bootstrap, run, size) if name == "descant" else peer_feed(f"{name}-{run}", bootstrap, size)
    bench = Bench(bootstrap, feed)
    with ExitStack() as stack:
        stack.callback(bench.close)
        command, variables = start(name, run, bootstrap, feed)
        also = []
        if name == "descant":  # answers are written, and requests closed, by a process of its own
            closer = [*command[:-1], "closer"]
            also.append(stack.enter_context(running(closer, variables, logs / "closer.log")).pid)
        process = stack.enter_context(running(command, variables, logs / f"{name}.log"))
        bench.warm_up(records // 10)
        p50, p99 = bench.latency(light)
        rate, cpu = bench.throughput(records, process.pid, also)
    return Figures(rate, p50, p99, cpu)


def start(name: str, run: str, bootstrap: str, feed: Feed) -> tuple[list[str], dict[str, str]]:
    variables = environment(DESCANT_PARTITIONS="1", HOP_PIPELINE=_pipeline(run))
    if name == "descant":
        return descant("run", "benchmarks.hop.pipeline:hop", "--bootstrap", bootstrap, "--stage", "pass_on"), variables
    python = str(PEERS_ENVIRONMENT / "bin" / "python") if name in PEERS else sys.executable
    module = f"benchmarks.hop.candidates.{PEERS.get(name, name)}"
    return [python, "-m", module, bootstrap, feed.source, feed.target], variables


def _pipeline(run: str) -> str:
    return f"hop-{run}"


def peer_feed(name: str, bootstrap: str, size: int) -> Feed:
    source, target = f"{name}-in", f"{name}-out"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(source, 1, 1), NewTopic(target, 1, 1)]).values():
        future.result()
    value = b"x" * size

    def record(number: int) -> tuple[str, bytes, Headers]:
        return f"request-{number}", value, []

    return Feed(source, target, record)


def descant_feed(bootstrap: str, run: str, size: int) -> Feed:
    """Records as ingress writes them: with envelope, on `accepted`; what the stage gives is on `pass_on`."""
    plan = named(_pipeline(run)).plan
    ensure_topics(KafkaSettings(bootstrap=bootstrap), topics_of(plan, PipelineSettings(partitions=1)).values())
    value = b'"' + b"x" * (size - 2) + b'"'

    def record(number: int) -> tuple[str, bytes, Headers]:
        name = f"request-{number}"
        deadline = int((time.time() + 600) * 1000)
        return name, value, Envelope(id=name, kind=Kind.ITEM, plan=plan.digest, deadline=deadline).headers()

    return Feed(plan.topic("accepted"), plan.topic("pass_on"), record)


if __name__ == "__main__":
    typer.run(main)
