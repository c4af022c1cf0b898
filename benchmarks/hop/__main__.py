"""`python -m benchmarks.hop`: throughput per core, hop latency and CPU per record, beside peers in the same run."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.hop.measure import Bench, Feed, Figures, running
from benchmarks.hop.pipeline import hop
from streams.broker import EmbeddedKafka
from streams.core.record import Envelope, Headers, Kind
from streams.runtime.topics import ensure_topics, topics_of
from streams.settings import KafkaSettings, PipelineSettings

PEERS: Final = {"raw": "raw", "quix": "quix", "faust": "faust_agent", "faststream": "faststream_app"}
SLOW: Final = ("faust", "faststream")
PEERS_ENVIRONMENT: Final = Path(".venv-peers")
PEERS_PACKAGES: Final = ("quixstreams==3.28.1", "faststream[confluent]==0.7.8", "faust-streaming==0.15.3")


def main(
    records: Annotated[int, typer.Option(help="For throughput; the slow frameworks get a tenth.")] = 50_000,
    size: Annotated[int, typer.Option(help="Bytes of a value.")] = 100,
    light: Annotated[int, typer.Option(help="Records for latency.")] = 500,
    only: Annotated[list[str] | None, typer.Option(help="Candidates; all without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line.")] = False,
) -> None:
    """Measure one stage that passes records on. Makes .venv-peers for the peers: they need other library versions."""
    names = only or ["raw", "descant", *list(PEERS)[1:]]
    if any(name != "descant" for name in names):
        make_peers_environment()
    found: dict[str, Figures] = {}
    with EmbeddedKafka() as kafka, tempfile.TemporaryDirectory() as logs:
        for name in names:
            count = records // 10 if name in SLOW else records
            found[name] = measure(name, kafka.bootstrap, count, size, light, Path(logs))
            if not as_json:
                typer.echo(f"{name:12} {found[name].as_json()}")
    result: dict[str, object] = {name: figures.as_json() for name, figures in found.items()}
    result["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    result["load_at_end"] = os.getloadavg()[0]
    typer.echo(json.dumps(result))


def make_peers_environment() -> None:
    if not (PEERS_ENVIRONMENT / "ready").exists():
        uv = ["uv"] if subprocess.run(["uv", "--version"], capture_output=True, check=False).returncode == 0 else [
            sys.executable, "-m", "uv"]  # fmt: skip
        subprocess.run([*uv, "venv", "-q", "--allow-existing", str(PEERS_ENVIRONMENT)], check=True)
        python = str(PEERS_ENVIRONMENT / "bin" / "python")
        subprocess.run([*uv, "pip", "install", "-q", "-p", python, *PEERS_PACKAGES], check=True)
        (PEERS_ENVIRONMENT / "ready").touch()


def measure(name: str, bootstrap: str, records: int, size: int, light: int, logs: Path) -> Figures:
    feed = descant_feed(bootstrap, size) if name == "descant" else peer_feed(name, bootstrap, size)
    bench = Bench(bootstrap, feed)
    with ExitStack() as stack:
        stack.callback(bench.close)
        bench.fill(records)
        command, environment = start(name, bootstrap, feed)
        if name == "descant":  # answers are written, and requests closed, by a process of its own
            closer = [*command[:-1], "closer"]
            stack.enter_context(running(closer, environment, logs / "closer.log"))
        process = stack.enter_context(running(command, environment, logs / f"{name}.log"))
        try:
            rate, cpu = bench.throughput(records, process.pid)
            p50, p99 = bench.latency(light)
        except TimeoutError:
            sys.stderr.write((logs / f"{name}.log").read_text()[-3000:])
            raise
    return Figures(rate, p50, p99, cpu)


def start(name: str, bootstrap: str, feed: Feed) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "DESCANT_PARTITIONS": "1"}
    if name == "descant":
        descant = str(Path(sys.executable).with_name("descant"))
        reference = "benchmarks.hop.pipeline:hop"
        return [descant, "run", reference, "--bootstrap", bootstrap, "--stage", "pass_on"], environment
    python = str(PEERS_ENVIRONMENT / "bin" / "python")
    arguments = [bootstrap, feed.source, feed.target] + (["worker"] if name == "faust" else [])
    return [python, "-m", f"benchmarks.hop.candidates.{PEERS[name]}", *arguments], environment


def peer_feed(name: str, bootstrap: str, size: int) -> Feed:
    source, target = f"{name}-in", f"{name}-out"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(source, 1, 1), NewTopic(target, 1, 1)]).values():
        future.result()
    value = b"x" * size

    def record(number: int) -> tuple[str, bytes, Headers]:
        return f"request-{number}", value, []

    return Feed(source, target, record)


def descant_feed(bootstrap: str, size: int) -> Feed:
    """Records as ingress writes them: with envelope, on `hop.accepted`; what the stage gives is on `hop.pass_on`."""
    settings = PipelineSettings(partitions=1)
    ensure_topics(KafkaSettings(bootstrap=bootstrap), topics_of(hop.plan, settings).values())

    value = b'"' + b"x" * (size - 2) + b'"'
    digest = hop.plan.digest

    def record(number: int) -> tuple[str, bytes, Headers]:
        name = f"request-{number}"
        deadline = int((time.time() + 600) * 1000)
        return name, value, Envelope(id=name, kind=Kind.ITEM, plan=digest, deadline=deadline).headers()

    return Feed(hop.plan.topic("accepted"), hop.plan.topic("pass_on"), record)


if __name__ == "__main__":
    typer.run(main)
