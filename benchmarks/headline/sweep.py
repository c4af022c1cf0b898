"""Up the rates, all arms at each, every point written as soon as it is there."""

from __future__ import annotations

import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.headline import figures
from benchmarks.headline.setup import Setup
from benchmarks.headline.workload import Sizes, Workload

POINTS_FILE: Final = "points.jsonl"
STOP_AT: Final = 2.2
"""An arm is not asked for more once its mean latency is so many times the baseline's idle one: its curve has passed
every target."""
RATES_MAX: Final = 12
DRAIN_IDLE_TIMES: Final = 8.0
"""How long the answers of a point are waited for, in idle latencies of the baseline."""

BUSY_MAX: Final = 0.9
"""Of the machine, or of one core by one process: beyond it is the harness that is measured, and no figure is given."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is measured."""

    arms: Sequence[str]
    variants: Sequence[str]
    rates: Sequence[float]
    """Requests a second; empty: from `first_load` on, times `growth`, until no arm goes on."""
    first_load: float
    """Requests under way for each engine at the first rate, were they as fast as alone."""
    growth: float
    seconds: float
    """Of arrivals, for each point."""
    idle_requests: int
    seed: int
    budget_seconds: float
    """No point is begun that would probably end later than this after the start of the sweep."""
    keep_saturated: bool
    """Points that were taken while the CPU was short count as the others do."""


@dataclass(slots=True)
class Results:
    """Points as they come; `folder` holds them all, so that a run that is cut off leaves what it has."""

    folder: Path
    points: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / POINTS_FILE).touch()

    def add(self, point: dict[str, Any]) -> None:
        self.points.append(point)
        with (self.folder / POINTS_FILE).open("a", encoding="utf-8") as out:
            out.write(json.dumps(point) + "\n")


def read(folder: Path) -> list[dict[str, Any]]:
    """What a run has left in its folder."""
    lines = (folder / POINTS_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


async def sweep(
    plan: Sweep, setup: Setup, results: Results, sizes: Sizes, *, speed: float, engines: int, is_simulated: bool,
    said: Callable[[str], None],
) -> None:  # fmt: skip
    """Measure until everything is there or the budget is spent."""
    meter = _Meter(setup, is_simulated=is_simulated, busy_max=math.inf if plan.keep_saturated else BUSY_MAX)
    began = time.monotonic()
    for number, variant in enumerate(plan.variants):
        share = plan.budget_seconds * (number + 1) / len(plan.variants)
        workload = Workload(sizes, plan.seed, variant == figures.DOCUMENT, speed)
        await _warm(setup, plan, workload, engines)
        idle = await _idle(plan, setup, results, meter, workload, variant, said)
        open_arms = list(plan.arms)
        for rate in itertools.islice(_rates(plan, engines, idle), RATES_MAX):
            for arm in tuple(open_arms):
                expected = (plan.seconds + 2 * idle) / speed
                if time.monotonic() - began + expected > share:
                    said(f"{variant}: the time is spent")
                    open_arms.clear()
                    break
                point = await meter.point(
                    arm,
                    workload,
                    variant,
                    rate=rate,
                    seconds=plan.seconds,
                    drain_seconds=DRAIN_IDLE_TIMES * idle / speed,
                )
                results.add(point)
                said(_line(point))
                if not point["n"] or point["mean"] > STOP_AT * idle or point["saturated"]:
                    open_arms.remove(arm)
            if not open_arms:
                break


def _rates(plan: Sweep, engines: int, idle: float) -> Iterator[float]:
    if plan.rates:
        yield from plan.rates
        return
    rate = plan.first_load * engines / idle
    while True:
        yield float(f"{rate:.3g}")
        rate *= plan.growth


async def _warm(setup: Setup, plan: Sweep, workload: Workload, engines: int) -> None:
    """The templates reach every engine's prefix cache, and routers learn the engines' speeds."""
    for arm in dict.fromkeys((figures.BASELINE, *(a for a in plan.arms if a != figures.LANGGRAPH))):
        salt = f"warm {arm} {workload.document} {time.time()}"
        await setup.loaded(arm, workload, salt, rate=float(engines), seconds=3.0, drain_seconds=120.0)


async def _idle(
    plan: Sweep, setup: Setup, results: Results, meter: _Meter, workload: Workload, variant: str,
    said: Callable[[str], None],
) -> float:  # fmt: skip
    """The baseline's idle latency; those of the other arms are written down."""
    base = 0.0
    for arm in dict.fromkeys((figures.BASELINE, *plan.arms)):
        point = await meter.idle(arm, workload, variant, plan.idle_requests)
        results.add(point)
        said(_line(point))
        base = base or point["mean"]
    return base


class _Meter:
    """Takes points: latencies, and what engines and machine did meanwhile."""

    def __init__(self, setup: Setup, *, is_simulated: bool, busy_max: float) -> None:
        self._setup: Final = setup
        self._is_simulated: Final = is_simulated
        self._busy_max: Final = busy_max

    async def idle(self, arm: str, workload: Workload, variant: str, requests: int) -> dict[str, Any]:
        salt = f"idle {arm} {variant} {time.time()}"
        latencies = await self._setup.idle(arm, workload, salt, requests)
        return {"kind": "idle", "variant": variant, "arm": arm, "n": len(latencies), **_rounded(figures.summary(latencies)),
                "latencies": [round(x, 4) for x in latencies]}  # fmt: skip

    async def point(
        self, arm: str, workload: Workload, variant: str, *, rate: float, seconds: float, drain_seconds: float
    ) -> dict[str, Any]:
        setup = self._setup
        setup.check()
        counts, cpu, began = await setup.counts(), setup.cpu(), time.monotonic()
        salt = f"{arm} {variant} {rate} {time.time()}"
        outcome = await setup.loaded(arm, workload, salt, rate=rate, seconds=seconds, drain_seconds=drain_seconds)
        took, used, engine = time.monotonic() - began, setup.cpu(), await setup.counts()
        setup.check()
        spent = {name: used[name] - before for name, before in cpu.items()}
        busy = spent.pop("machine busy") / max(spent.pop("machine all"), 1e-9)
        cores = {name: round(seconds / took, 3) for name, seconds in spent.items()}
        did = {name: engine[name] - before for name, before in counts.items()}
        return {
            "kind": "load", "variant": variant, "arm": arm, "rate": rate, "seconds": seconds, "seed": workload.seed,
            "n": len(outcome.latencies), "failed": outcome.failed, "unanswered": outcome.unanswered,
            **(_rounded(figures.summary(outcome.latencies)) if outcome.latencies else {}),
            "saturated": self._is_saturated(busy, cores), "machine_busy": round(busy, 3), "cores": cores,
            "engines": _per_prompt(did, workload.speed), "latencies": [round(x, 4) for x in outcome.latencies],
        }  # fmt: skip

    def _is_saturated(self, busy: float, cores: Mapping[str, float]) -> bool:
        """Real engines on a CPU are meant to use it all; what is ours never is."""
        ours = [
            c for name, c in cores.items() if name != "kafka" and (self._is_simulated or not name.startswith("engine"))
        ]
        return max(ours, default=0.0) > self._busy_max or (self._is_simulated and busy > self._busy_max)


def _per_prompt(did: Mapping[str, float], speed: float) -> dict[str, float]:
    """Where the gain comes from: what was computed, and how fast it went."""
    prompts, tokens = max(did["prompts"], 1), max(did["output_tokens"] - did["prompts"], 1)
    return {
        "prompts": did["prompts"],
        "prompt_tokens": did["prompt_tokens"],
        "cached_share": round(did["cached_tokens"] / max(did["prompt_tokens"], 1), 4),
        "first_token_ms": round(did["first_token_seconds"] / prompts * speed * 1e3, 2),
        "between_tokens_ms": round(did["decode_seconds"] / tokens * speed * 1e3, 3),
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def _line(point: Mapping[str, Any]) -> str:
    where = f"{point['variant']:9} {point['arm']:9} {point.get('rate', 'idle'):>6}"
    if not point["n"]:
        return f"{where}  no answer"
    line = f"{where}  n {point['n']:4}  mean {point['mean']:7.3f}  p50 {point['p50']:7.3f}  p99 {point['p99']:7.3f}"
    if point["kind"] == "idle":
        return line
    engines = point["engines"]
    line += f"  cached {engines['cached_share']:.0%}  ttft {engines['first_token_ms']:.0f} ms  itl {engines['between_tokens_ms']:.1f} ms"
    line += f"  busy {point['machine_busy']:.0%} (most: {max(point['cores'].values()):.2f})"
    bad = [f"{point[w]} {w}" for w in ("failed", "unanswered") if point[w]] + ["SATURATED"] * point["saturated"]
    return line + "".join(f"  {b}" for b in bad)


def curves(points: Sequence[Mapping[str, Any]], variant: str) -> dict[str, list[figures.Point]]:
    """Arm -> points; several at one rate (other seeds) count as one with all their latencies."""
    gathered: dict[str, dict[float, list[Mapping[str, Any]]]] = {}
    for point in points:
        if point["kind"] == "load" and point["variant"] == variant and point["n"]:
            gathered.setdefault(point["arm"], {}).setdefault(point["rate"], []).append(point)
    return {arm: [_merged(rate, same) for rate, same in sorted(by_rate.items())] for arm, by_rate in gathered.items()}


def _merged(rate: float, same: Sequence[Mapping[str, Any]]) -> figures.Point:
    latencies = [x for point in same for x in point["latencies"]]
    is_valid = all(not p["failed"] and not p["saturated"] for p in same)
    return figures.Point(rate=rate, is_valid=is_valid, **figures.summary(latencies))


def idle_of(points: Sequence[Mapping[str, Any]], variant: str, arm: str) -> float | None:
    """Mean latency of requests that never met."""
    found = [
        x for p in points if p["kind"] == "idle" and (p["variant"], p["arm"]) == (variant, arm) for x in p["latencies"]
    ]
    return statistics.fmean(found) if found else None


def machine_line() -> str:
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
