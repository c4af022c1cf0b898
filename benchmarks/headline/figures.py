"""From latencies to the figures that are reported. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

BASELINE: Final = "baseline"
STREAMING: Final = "streaming"
ROUTING: Final = "routing"
BOTH: Final = "both"
LANGGRAPH: Final = "langgraph"
EARLY: Final = "early"
PREFETCH: Final = "prefetch"
ARMS: Final = (BASELINE, STREAMING, ROUTING, BOTH, LANGGRAPH)
MORE_ARMS: Final = (EARLY, PREFETCH)
"""`both` with a shorter critical path; see benchmarks.headline.early."""

TEMPLATES: Final = "templates"
DOCUMENT: Final = "document"
VARIANTS: Final = (DOCUMENT, TEMPLATES)

MULTIPLES: Final = (1.2, 1.5, 2.0)
"""Targets, in idle latencies of the baseline."""


@dataclass(frozen=True, slots=True)
class Point:
    """One arm at one rate."""

    rate: float
    mean: float
    p50: float
    p90: float
    p99: float
    is_valid: bool
    """Every request was answered, and the machine had time to spare."""


def quantile(values: Sequence[float], q: float) -> float:
    """By linear interpolation between ranks. Raises ValueError without values."""
    if not values:
        raise ValueError("no values, no quantile")
    ordered = sorted(values)
    place = (len(ordered) - 1) * q
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summary(latencies: Sequence[float]) -> dict[str, float]:
    """Mean and quantiles, seconds."""
    return {
        "mean": statistics.fmean(latencies),
        "p50": quantile(latencies, 0.5),
        "p90": quantile(latencies, 0.9),
        "p99": quantile(latencies, 0.99),
    }


@dataclass(frozen=True, slots=True)
class Throughput:
    """The highest rate at which the mean latency keeps to a target."""

    rate: float
    is_bound: bool
    """The curve never passed the target: it is at least this."""


def throughput_at(points: Iterable[Point], target: float) -> Throughput | None:
    """Where the curve of mean latency over rate passes the target for the first time, between two points on a line.

    None where even the lowest rate is slower.
    """
    before: Point | None = None
    for point in sorted(points, key=lambda p: p.rate):
        if point.mean > target:
            if before is None:
                return None
            share = (target - before.mean) / (point.mean - before.mean)
            return Throughput(before.rate + share * (point.rate - before.rate), is_bound=False)
        before = point
    return None if before is None else Throughput(before.rate, is_bound=True)


def throughput_ratio(base: Sequence[Point], other: Sequence[Point], target: float) -> dict[str, Any] | None:
    """How many times the base's throughput at a target; `at_least` where the other's curve never passed it.

    None where the base does not reach the target at any rate, or passes it at none: then nothing can be divided by.
    """
    ours, theirs = throughput_at(other, target), throughput_at(base, target)
    if ours is None or theirs is None or theirs.is_bound:
        return None
    return {"ratio": round(ours.rate / theirs.rate, 3), "at_least": ours.is_bound, "rate": round(ours.rate, 3),
            "baseline_rate": round(theirs.rate, 3)}  # fmt: skip


def tail_ratios(base: Sequence[Point], other: Sequence[Point], least_rate: float) -> dict[float, float]:
    """Rate -> p99 of the base ÷ that of the other, at the rates that both have from `least_rate` on."""
    mine = {p.rate: p.p99 for p in other}
    return {p.rate: p.p99 / mine[p.rate] for p in base if p.rate in mine and p.rate >= least_rate}


def geometric_mean(values: Iterable[float]) -> float | None:
    """None without values."""
    logs = [math.log(v) for v in values]
    return math.exp(statistics.fmean(logs)) if logs else None


def verdict(curves: Mapping[str, Sequence[Point]], idle: float, target: float) -> dict[str, Any]:
    """What one variant's curves say.

    idle     mean latency of the baseline's requests that never meet, seconds
    target   of the headline's throughput, seconds
    """
    base = [p for p in curves.get(BASELINE, ()) if p.is_valid]
    middle = throughput_at(base, MULTIPLES[-1] * idle)
    least_rate = middle.rate / 2 if middle is not None else 0.0
    found: dict[str, Any] = {"idle": round(idle, 3), "target": target, "mid_load": round(least_rate, 3), "arms": {}}
    for arm, points in curves.items():
        if arm == BASELINE:
            continue
        valid = [p for p in points if p.is_valid]
        tails = tail_ratios(base, valid, least_rate)
        means = {p.rate: p.mean for p in valid}
        found["arms"][arm] = {
            "throughput": throughput_ratio(base, valid, target),
            "throughput_at_idle_times": {str(m): throughput_ratio(base, valid, m * idle) for m in MULTIPLES},
            "p99": _rounded(geometric_mean(tails.values())),
            "p99_by_rate": {str(rate): round(ratio, 3) for rate, ratio in tails.items()},
            "mean_by_rate": {str(p.rate): round(p.mean / means[p.rate], 3) for p in base if p.rate in means},
        }
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def headline(verdicts: Mapping[str, Mapping[str, Any]], langgraph: Mapping[str, float | None]) -> dict[str, Any]:
    """The names that the benchmark promises; null where it was not measured."""
    document, templates = verdicts.get(DOCUMENT), verdicts.get(TEMPLATES)
    found: dict[str, Any] = {}
    for suffix, arm in (("", BOTH), ("_streaming_only", STREAMING), ("_routing_only", ROUTING)):
        found[f"throughput_ratio{suffix}"] = _throughput(document, arm)
        found[f"p99_ratio{suffix}"] = _tail(document, arm)
    found["templates_throughput_ratio"] = _throughput(templates, BOTH)
    found["templates_p99_ratio"] = _tail(templates, BOTH)
    found["langgraph_latency_ratio"] = langgraph.get(DOCUMENT, langgraph.get(TEMPLATES))
    return found


def _throughput(verdict: Mapping[str, Any] | None, arm: str) -> float | None:
    entry = (verdict or {}).get("arms", {}).get(arm, {}).get("throughput")
    return None if entry is None else entry["ratio"]


def _tail(verdict: Mapping[str, Any] | None, arm: str) -> float | None:
    value = (verdict or {}).get("arms", {}).get(arm, {}).get("p99")
    return None if value is None else float(value)


def langgraph_ratio(curves: Mapping[str, Sequence[Point]]) -> dict[str, float]:
    """Rate -> mean latency of LangGraph ÷ that of streaming with routing."""
    ours = {p.rate: p.mean for p in curves.get(BOTH, ()) if p.is_valid}
    return {
        str(p.rate): round(p.mean / ours[p.rate], 3) for p in curves.get(LANGGRAPH, ()) if p.is_valid and p.rate in ours
    }
