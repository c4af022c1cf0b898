"""The one JSON object and the plot, from the points that a run has left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.headline import figures
from benchmarks.headline.sweep import curves, idle_of

PLOT_FILE: Final = "curves.svg"
TARGET_SECONDS: Final = 4.0
"""ALTO's, for the simulated H100s with an 8B model, whose baseline is idle at about three."""
TARGET_IDLE_TIMES: Final = 1.5
"""For engines of any other speed."""

_LABELS: Final = {
    figures.BASELINE: "whole outputs, round robin",
    figures.STREAMING: "streaming only",
    figures.ROUTING: "routing only",
    figures.BOTH: "streaming and routing",
    figures.LANGGRAPH: "LangGraph supersteps",
    figures.EARLY: "both, retrieval on half a claim",
    figures.PREFETCH: "the same, document prefilled ahead",
}
_COLOURS: Final = dict(
    zip(_LABELS, ("#6b7280", "#2563eb", "#d97706", "#059669", "#b91c1c", "#7c3aed", "#db2777"), strict=True)
)


def result(points: Sequence[Mapping[str, Any]], *, is_simulated: bool) -> dict[str, Any]:
    """What the benchmark promises first; then each variant's curves and idle latencies."""
    verdicts: dict[str, dict[str, Any]] = {}
    langgraph: dict[str, float | None] = {}
    for variant in dict.fromkeys(str(p["variant"]) for p in points):
        idle = idle_of(points, variant, figures.BASELINE)
        found = curves(points, variant)
        if idle is None or not found:
            continue
        target = TARGET_SECONDS if is_simulated else round(TARGET_IDLE_TIMES * idle, 3)
        verdicts[variant] = {
            **figures.verdict(found, idle, target),
            "idle_by_arm": {arm: round(i, 3) for arm in _LABELS if (i := idle_of(points, variant, arm)) is not None},
            "langgraph_by_rate": figures.langgraph_ratio(found),
            "curves": {arm: [_row(p) for p in of] for arm, of in found.items()},
        }
        langgraph[variant] = figures.geometric_mean(verdicts[variant]["langgraph_by_rate"].values())
    return {**figures.headline(verdicts, langgraph), "variants": verdicts, "engines": _engines(points)}


def _row(point: figures.Point) -> dict[str, float | bool]:
    return {"rate": point.rate, "mean": round(point.mean, 3), "p50": round(point.p50, 3), "p90": round(point.p90, 3),
            "p99": round(point.p99, 3), "valid": point.is_valid}  # fmt: skip


def _engines(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where the gain comes from, and what the harness cost: a row for each point."""
    return [
        {"variant": p["variant"], "arm": p["arm"], "rate": p["rate"], "n": p["n"], **p["engines"],
         "machine_busy": p["machine_busy"], "busiest": max(p["cores"].values()), "failed": p["failed"]}
        for p in points if p["kind"] == "load"
    ]  # fmt: skip


def plot(points: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Mean, p50, p90 and p99 against the rate, a row of panels for each variant. Needs matplotlib (extra `bench`)."""
    import matplotlib  # noqa: PLC0415 — takes a second, and nothing else here needs it

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "descant"
    from matplotlib import pyplot  # noqa: PLC0415

    variants = [v for v in figures.VARIANTS if curves(points, v)]
    quantities = ("mean", "p50", "p90", "p99")
    figure, axes = pyplot.subplots(
        len(variants), len(quantities), figsize=(14, 3.4 * len(variants)), squeeze=False, layout="constrained"
    )
    for row, variant in zip(axes, variants, strict=True):
        idle = idle_of(points, variant, figures.BASELINE)
        for panel, quantity in zip(row, quantities, strict=True):
            for arm, of in curves(points, variant).items():
                valid = [p for p in of if p.is_valid]
                panel.plot(
                    [p.rate for p in valid], [getattr(p, quantity) for p in valid],
                    marker="o", markersize=3, linewidth=1.5, color=_COLOURS[arm], label=_LABELS[arm],
                )  # fmt: skip
            if idle is not None:
                panel.set_ylim(0, 5 * idle)
                panel.axhline(idle, color="#d1d5db", linewidth=0.8)
            panel.set_title(f"{variant}: {quantity}", fontsize=10)
            panel.set_xlabel("requests a second")
            panel.set_ylabel("seconds")
            panel.set_xlim(left=0)
    axes[0][0].legend(fontsize=7)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, metadata={"Date": None})
