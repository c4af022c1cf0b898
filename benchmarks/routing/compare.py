"""Runs policies on workloads and says how ours stands against the best peer of each workload."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.routing.simulation import Setup, Simulation, quantile
from benchmarks.routing.trace import Trace
from workers.routing import policies, policy

OURS: Final = "descant"


@dataclass(frozen=True, slots=True)
class Figures:
    """One policy on one trace: request latencies in seconds, and what explains them."""

    p50: float
    p90: float
    p99: float
    mean: float
    ttft_p90: float
    hit_rate: float
    requests: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ours over the best peer's, which is chosen for each quantile on its own; below 1 is better."""

    p90_latency_ratio: float
    p99_latency_ratio: float
    best_peer: str
    """At p90."""
    best_peer_p99: str


Table = dict[str, dict[str, list[Figures]]]
"""workload -> policy -> one entry a seed."""


def measure(trace: Trace, setup: Setup, name: str, seed: int) -> Figures:
    """Simulates one policy on one trace."""
    result = Simulation(trace, setup, lambda: policy(name), seed).run()
    return Figures(
        p50=quantile(result.requests, 0.5),
        p90=quantile(result.requests, 0.9),
        p99=quantile(result.requests, 0.99),
        mean=statistics.fmean(result.requests) if result.requests else math.nan,
        ttft_p90=quantile(result.ttft, 0.9),
        hit_rate=result.hit_rate,
        requests=len(result.requests),
    )


def run(
    cases: Mapping[str, tuple[Callable[[int], Trace], Setup]],
    seeds: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    finalists: int = 2,
    said: Callable[[str], None] = lambda _: None,
) -> Table:
    """Every policy on the first seed; on the further ones ours and the `finalists` best peers at p90 and at
    p99 of the first, which saves most of the time and can only miss a peer that was not among the best
    once."""
    table: Table = {}
    every = list(names) if names is not None else [OURS, *(n for n in sorted(policies()) if n != OURS)]
    for case, (make, setup) in cases.items():
        rows = table[case] = {}
        chosen = every
        for number, seed in enumerate(seeds):
            trace = make(seed)
            for name in chosen:
                rows.setdefault(name, []).append(measure(trace, setup, name, seed))
            if not number and len(seeds) > 1:
                chosen = _finalists(rows, finalists)
        leaders = ", ".join(f"{name} {_mean(figures, 'p90'):.2f}" for name, figures in _ranked(rows, "p90")[:4])
        said(f"{case}: {leaders}")
    return table


def _finalists(rows: Mapping[str, Sequence[Figures]], count: int) -> list[str]:
    kept = [n for q in ("p90", "p99") for n in [n for n, _ in _ranked(rows, q) if n != OURS][:count]]
    return [n for n in rows if n == OURS or n in kept]


def _ranked(rows: Mapping[str, Sequence[Figures]], field: str) -> list[tuple[str, Sequence[Figures]]]:
    return sorted(rows.items(), key=lambda item: _mean(item[1], field))


def _mean(figures: Sequence[Figures], field: str) -> float:
    """Geometric mean over the seeds."""
    return geometric(getattr(f, field) for f in figures)


def geometric(values: Iterable[float]) -> float:
    logs = [math.log(v) for v in values]
    return math.exp(statistics.fmean(logs)) if logs else math.nan


def verdicts(table: Table) -> dict[str, Verdict]:
    """Per workload, where ours and at least one peer ran; over the seeds that both ran."""
    found = {}
    for case, rows in table.items():
        ours = rows.get(OURS)
        seeds = len(ours) if ours else 0
        peers = {n: f for n, f in rows.items() if n != OURS and len(f) == seeds}
        if not ours or not peers:
            continue
        best90, figures90 = _ranked(peers, "p90")[0]
        best99, figures99 = _ranked(peers, "p99")[0]
        found[case] = Verdict(
            p90_latency_ratio=_mean(ours, "p90") / _mean(figures90, "p90"),
            p99_latency_ratio=_mean(ours, "p99") / _mean(figures99, "p99"),
            best_peer=best90,
            best_peer_p99=best99,
        )
    return found
