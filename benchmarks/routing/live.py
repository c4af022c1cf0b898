"""The routing policies on real engines: `python -m benchmarks.routing.live [--engine vllm] [--workers N] ...`.

Starts worker processes and, unless one is named, a Kafka; plays the compound and the tenants trace once a policy and
round, and the same traces through the simulator with the constants that `benchmarks.routing.calibrate` found. Prints
request latency, time to first token and prefix hits; the last line is one JSON object. Needs the engine's environment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.routing.calibrate import file_name, hardware_of, stored
from benchmarks.routing.dummy import MODEL, SHAPES, DummyModel, engine_settings, hardware_name, is_gpu
from benchmarks.routing.hardware import Hardware
from benchmarks.routing.player import Played, Player
from benchmarks.routing.simulation import Setup, Simulation, quantile
from benchmarks.routing.trace import Spec, compiled
from benchmarks.routing.workloads import Arrivals, pipeline, tenants
from streams.broker import EmbeddedKafka, bootstrap_servers
from streams.errors import BrokerError, ConfigError, DescantError
from streams.settings import KafkaSettings, PipelineSettings
from workers.routing import policies, policy

POLICIES: Final = ("round_robin", "least_requests", "sglang_cache_aware", "dynamo_lmetric", "descant")
ROUTERS: Final = 3
PARALLEL: Final = 32
START_SECONDS: Final = 900.0
PROBE_REQUESTS: Final = 12
STATE_AGE: Final = 0.1
"""Between two announcements of a worker."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is played. Rates follow from the capacity that a burst shows."""

    name: str
    scale: float
    """Of all token counts of the workload, so that a small machine can do it."""
    requests: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses, runs, prints."""
    options = _parser().parse_args(arguments)
    try:
        result = asyncio.run(_run(options))
    except DescantError as error:
        print(f"error ({error.code}): {error}", file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return 143
    print(json.dumps(result))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing.live", description=__doc__)
    parser.add_argument(
        "--engine", choices=("vllm", "simulated"), default="vllm", help="simulated: to see that it works"
    )
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--model-size", choices=tuple(SHAPES), default="tiny")
    parser.add_argument("--gpu-memory-fraction", type=float, help="of a GPU's memory for each worker")
    parser.add_argument("--policy", action="append", help=f"repeatable; default: {', '.join(POLICIES)}")
    parser.add_argument("--workload", action="append", choices=("pipeline", "tenants"), help="default: both")
    parser.add_argument("--requests", type=int, default=40, help="a run")
    parser.add_argument("--scale", type=float, help="of all token counts; default 0.15 on a CPU, 1 on a GPU")
    parser.add_argument("--load", type=float, default=0.6, help="arrival rate, of what a burst shows to be possible")
    parser.add_argument("--rounds", type=int, default=1, help="runs a policy and workload, with other seeds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--constants", type=Path, help="a result of calibrate; default: the stored one of this hardware"
    )
    parser.add_argument("--bootstrap", help="a Kafka that runs already")
    return parser


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    if (task := asyncio.current_task()) is not None:  # told to stop, it ends its workers first
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    names = list(options.policy or POLICIES)
    for name in names:
        if name not in policies():
            raise ConfigError(f"no policy {name!r}; there are: {', '.join(sorted(policies()))}.", code="config.bench")
    if not 1 <= options.workers <= 64 or options.requests < 1 or options.rounds < 1 or not 0 < options.load <= 3:
        raise ConfigError("--workers must be 1 to 64, --requests and --rounds 1 or more, --load up to 3.", code="config.bench")  # fmt: skip
    scale = options.scale or (1.0 if options.engine == "vllm" and is_gpu() else 0.15)
    settings = PipelineSettings(lanes=options.workers * 2)
    stages = ("draft", "check", "report", "ask")
    async with AsyncExitStack() as stack:
        kafka = KafkaSettings(bootstrap=stack.enter_context(_kafka(options.bootstrap)))
        await stack.enter_async_context(_workers(options, kafka, settings, scale))
        player = await stack.enter_async_context(
            Player(kafka, settings, stages, routers=ROUTERS, workers=options.workers)
        )
        found = {}
        for workload in options.workload or ("pipeline", "tenants"):
            found[workload] = await _compare(player, workload, scale, names, options)
    return {
        "hardware": hardware_name() if options.engine == "vllm" else "none: simulated engines",
        "engine": options.engine, "model": options.model_size, "workers": options.workers, "scale": scale,
        "load": options.load, "workloads": found,
    }  # fmt: skip


# --- what is played --------------------------------------------------------------------------------------------------


def trace_of(workload: str, requests: int, scale: float, seed: int) -> list[Spec]:
    """At one request a second; `at_rate` makes it faster."""
    make = pipeline() if workload == "pipeline" else tenants
    specs = make(Arrivals(rate=1.0, seconds=float(requests)), random.Random(f"live {workload} {seed}"))
    return [_scaled(spec, scale) for spec in specs]


def _scaled(spec: Spec, scale: float) -> Spec:
    return replace(
        spec,
        segs=tuple((content, max(1, round(tokens * scale))) for content, tokens in spec.segs),
        out=max(2, round(spec.out * scale)),
        at_token=tuple((max(1, round(at * scale)), target) for at, target in spec.at_token),
    )


def at_rate(specs: Sequence[Spec], rate: float) -> list[Spec]:
    return [replace(spec, t=spec.t / rate) for spec in specs]


async def _compare(
    player: Player, workload: str, scale: float, names: Sequence[str], options: argparse.Namespace
) -> dict[str, Any]:
    burst = at_rate(trace_of(workload, PROBE_REQUESTS, scale, options.seed), 1e6)
    await player.play(burst, "round_robin", salt=f"warm {workload}")
    probe = await player.play(burst, "round_robin", salt=f"probe {workload}")
    rate = options.load * len(probe.requests) / probe.seconds
    _say(
        f"{workload}: a burst of {len(probe.requests)} took {probe.seconds:.1f} s; {rate:.2f} requests a second from now"
    )
    played: dict[str, list[Played]] = {name: [] for name in names}
    traces = []
    for number in range(options.rounds):
        specs = at_rate(trace_of(workload, options.requests, scale, options.seed + number), rate)
        traces.append(specs)
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):  # whatever else the machine does must not always hit the same one
            one = await player.play(specs, name, salt=f"{workload} {number} {name}")
            played[name].append(one)
            _say(f"  {name:24} p50 {quantile(one.requests, 0.5):6.2f} s  p90 {quantile(one.requests, 0.9):6.2f} s  hits {one.hit_rate:.0%}")  # fmt: skip
    real = {name: _figures(ones) for name, ones in played.items()}
    simulated = _simulated(burst, probe.seconds, traces, names, options)
    return {
        "rate": round(rate, 3),
        "requests": sum(len(p.requests) for p in played[names[0]]),
        "real": real,
        **({"simulated": simulated, **_agreement(real, simulated)} if simulated else {}),
    }


def _figures(ones: Sequence[Played]) -> dict[str, float]:
    requests = [r for one in ones for r in one.requests]
    ttft = [t for one in ones for t in one.ttft]
    return {
        "p50": _short(quantile(requests, 0.5)),
        "p90": _short(quantile(requests, 0.9)),
        "mean": _short(statistics.fmean(requests)),
        "ttft_p50": _short(quantile(ttft, 0.5)),
        "ttft_p90": _short(quantile(ttft, 0.9)),
        "hit_rate": _short(statistics.fmean(one.hit_rate for one in ones)),
    }


# --- the same, simulated ---------------------------------------------------------------------------------------------


def _simulated(
    burst: Sequence[Spec],
    seconds: float,
    traces: Sequence[Sequence[Spec]],
    names: Sequence[str],
    options: argparse.Namespace,
) -> dict[str, dict[str, float]]:
    """Engines that share a processor are slower than the one that was calibrated: by as much as the burst was."""
    hardware = _constants(options)
    if hardware is None:
        _say("  no constants for this hardware: run benchmarks.routing.calibrate to have it simulated as well")
        return {}
    setup = Setup(
        workers=options.workers, routers=ROUTERS, state_age=STATE_AGE, hardware=replace(hardware, sequences=PARALLEL)
    )
    alone = max(Simulation(compiled(burst), setup, lambda: policy("round_robin"), 1, warm=0.0).run().requests)
    setup = replace(setup, hardware=replace(setup.hardware, slowness=seconds / alone))
    _say(f"  simulated with steps {seconds / alone:.2f} times as long as of one engine alone")
    found = {}
    for name in names:
        results = [
            Simulation(compiled(specs), setup, lambda name=name: policy(name), 1, warm=0.0).run()  # type: ignore[misc]
            for specs in traces
        ]
        requests = [r for result in results for r in result.requests]
        found[name] = {
            "p50": _short(quantile(requests, 0.5)),
            "p90": _short(quantile(requests, 0.9)),
            "mean": _short(statistics.fmean(requests)),
            "ttft_p50": _short(quantile([t for r in results for t in r.ttft], 0.5)),
            "hit_rate": _short(statistics.fmean(r.hit_rate for r in results)),
        }
    return found


def _constants(options: argparse.Namespace) -> Hardware | None:
    if options.constants is not None:
        return hardware_of(json.loads(options.constants.read_text(encoding="utf-8")))
    if options.engine != "vllm":
        return Hardware(step_tokens=2_048, sequences=PARALLEL)  # the simulated engine's own
    found = stored().get(file_name(hardware_name(), options.model_size).removesuffix(".json"))
    return None if found is None else hardware_of(found)


TIE: Final = 0.03
"""Mean latencies this close are no order."""


def _agreement(real: Mapping[str, Mapping[str, float]], simulated: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Of the pairs of policies that both tell apart, by mean request latency, those in the same order."""
    agreed, against = 0, []
    names = sorted(real)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            a, b = (table[one]["mean"] / table[other]["mean"] - 1 for table in (real, simulated))
            if min(abs(a), abs(b)) < TIE:
                continue
            if (a < 0) == (b < 0):
                agreed += 1
            else:
                against.append(f"{one} / {other}: {1 + a:.2f} measured, {1 + b:.2f} simulated")
    return {"pairs_agreed": agreed, "pairs_against": against}


# --- what is started -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _kafka(bootstrap: str | None) -> Any:
    if named := bootstrap_servers(bootstrap):
        yield named
        return
    with EmbeddedKafka() as kafka:
        yield kafka.bootstrap


@asynccontextmanager
async def _workers(
    options: argparse.Namespace, kafka: KafkaSettings, settings: PipelineSettings, scale: float
) -> AsyncIterator[None]:
    """As many processes of `descant worker`, ready; ended with the block."""
    with DummyModel(options.model_size) if options.engine == "vllm" else contextlib.nullcontext() as path:
        arguments = ["--engine", options.engine, "--model", MODEL, "--bootstrap", kafka.bootstrap, "--json"]
        given: dict[str, Any] = {"parallel": PARALLEL}
        if path is not None:
            context = 256 + int(12_000 * scale)
            given = engine_settings(path, context=context, parallel=PARALLEL, gpu_memory_fraction=options.gpu_memory_fraction)  # fmt: skip
            del given["model"]
        for name, value in given.items():
            arguments += ["--set", f"{name}={json.dumps(value)}"]
        environment = os.environ | {
            "DESCANT_LANES": str(settings.lanes),
            "VLLM_LOGGING_LEVEL": "ERROR",
            # Else each engine on a CPU takes the same core.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        processes: list[asyncio.subprocess.Process] = []
        drains: list[asyncio.Task[bytes]] = []
        try:
            for _ in range(options.workers):
                processes.append(
                    await asyncio.create_subprocess_exec(
                        sys.executable, "-c", "from streams.cli import main; main()", "worker", *arguments,
                        stdout=asyncio.subprocess.PIPE, env=environment,
                    )
                )  # fmt: skip
            async with asyncio.timeout(START_SECONDS):
                await asyncio.gather(*(_ready(process, drains) for process in processes))
            _say(f"{len(processes)} workers are ready")
            yield
        finally:
            for process in processes:
                if process.returncode is None:
                    process.terminate()
            for process in processes:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 20)
                if process.returncode is None:
                    process.kill()


async def _ready(process: asyncio.subprocess.Process, drains: list[asyncio.Task[bytes]]) -> None:
    """Raises BrokerError when it ends first."""
    output = process.stdout
    while output is not None and (line := await output.readline()):
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and said.get("event") == "ready":
                drains.append(asyncio.create_task(output.read()))  # a full pipe would stop it
                return
    raise BrokerError("a worker ended before it was ready; its log above says why.", code="broker.worker")


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
