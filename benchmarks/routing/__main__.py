"""`python -m benchmarks.routing [--json] [--seed N] [--seeds K] [--workload W] [--policy P] [--trace FILE]
[--hardware H] [--quick]`.

Prints a table; the last line is one JSON object. Exit status 2 for a trace or a name that cannot be used.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.results import report
from benchmarks.routing import compare, page
from benchmarks.routing.calibrate import hardware_of, stored
from benchmarks.routing.hardware import Hardware
from benchmarks.routing.simulation import Setup
from benchmarks.routing.trace import Trace, load
from benchmarks.routing.workloads import WORKLOADS
from streams.errors import ConfigError, DescantError
from workers.routing import policies

NOT_CALIBRATED = (
    "no stored result of benchmarks.routing.calibrate: the engine model was never compared with a real vLLM"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses, runs, prints."""
    options = _parser().parse_args(arguments)
    began = time.process_time()
    seeds = [options.seed + i for i in range(1 if options.quick else options.seeds)]
    try:
        cases = _cases(options)
        names = _names(options.policy)
        table = compare.run(cases, seeds, names=names, said=lambda line: print(line, file=sys.stderr))
    except DescantError as error:
        print(f"error ({error.code}): {error}", file=sys.stderr)
        return 2
    if not options.json:
        print(render(table))
    result = summary(table, seeds, time.process_time() - began)
    if options.page is not None:
        page.write(options.page, [result])
    report("routing", result, save=options.save)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON object on standard output")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results/")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=2, help="how many seeds, from --seed on")
    parser.add_argument("--workload", action="append", help="one of them, or a prefix such as `pipeline`; repeatable")
    parser.add_argument("--policy", action="append", help="only these policies, and ours; repeatable")
    parser.add_argument("--trace", type=Path, help="a JSON-lines trace in place of the workloads")
    parser.add_argument("--state-age", type=float, default=0.05, help="mean age of worker state, seconds")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--routers", type=int, default=6, help="independent routers")
    parser.add_argument(
        "--hardware", help=f"constants that were fitted to a real vLLM: {', '.join(stored()) or 'none stored'}"
    )
    parser.add_argument("--page", type=Path, help="write the results into this Markdown page, between its marks")
    parser.add_argument("--quick", action="store_true", help="one seed and a third of the time")
    return parser


def _cases(options: argparse.Namespace) -> dict[str, tuple[Callable[[int], Trace], Setup]]:
    if not 1 <= options.workers <= 1_024 or not 1 <= options.routers <= 1_024 or not 0 <= options.state_age <= 60:
        raise ConfigError("--workers and --routers must be 1 to 1024, --state-age 0 to 60.", code="config.bench")
    if options.seeds < 1:
        raise ConfigError("--seeds must be at least 1.", code="config.bench")
    around = {"workers": options.workers, "routers": options.routers, "state_age": options.state_age}
    around["hardware"] = _hardware(options.hardware)
    if options.trace is not None:
        trace = load(options.trace)
        return {options.trace.stem: (lambda _: trace, Setup(**around))}
    wanted = options.workload or list(WORKLOADS)
    chosen = [n for n in WORKLOADS if any(n == w or n.startswith(f"{w}/") for w in wanted)]
    unknown = [w for w in wanted if not any(n == w or n.startswith(f"{w}/") for n in WORKLOADS)]
    if unknown:
        raise ConfigError(f"no workload {unknown[0]!r}; there are: {', '.join(WORKLOADS)}.", code="config.bench")
    shorter = 1 / 3 if options.quick else 1.0

    def of(name: str) -> tuple[Callable[[int], Trace], Setup]:
        workload = WORKLOADS[name]
        setup = Setup(**around, slow=workload.setup.slow, faults=workload.setup.faults)
        return lambda seed: workload.trace(seed, shorter=shorter), setup

    return {name: of(name) for name in chosen}


def _hardware(name: str | None) -> Hardware:
    if name is None:
        return Hardware()
    known = stored()
    if name not in known:
        raise ConfigError(f"no constants of {name!r}; there are: {', '.join(known) or 'none'}.", code="config.bench")
    return hardware_of(known[name])


def _calibration() -> dict[str, Any]:
    """How far the engine model is from each real vLLM that it was fitted to, on cells that the fit has not seen."""
    found = {name: result["calibration_error"] for name, result in stored().items()}
    if not found:
        return {"calibration_error": None, "calibration_error_reason": NOT_CALIBRATED}
    return {"calibration_error": max(found.values()), "calibration_error_by_hardware": found}


def _names(wanted: list[str] | None) -> list[str] | None:
    if not wanted:
        return None
    known = policies()
    for name in wanted:
        if name not in known:
            raise ConfigError(f"no policy {name!r}; there are: {', '.join(sorted(known))}.", code="config.bench")
    return [compare.OURS, *(n for n in dict.fromkeys(wanted) if n != compare.OURS)]


def render(table: compare.Table) -> str:
    """A plain table: one line a policy, best p90 first within its workload."""
    lines = []
    for case, rows in table.items():
        lines.append(f"\n{case}\n{'':24}{'p50':>7}{'p90':>8}{'p99':>8}{'TTFT p90':>10}{'hits':>7}{'seeds':>7}")
        ordered = sorted(rows.items(), key=lambda item: compare.geometric(f.p90 for f in item[1]))
        for name, figures in ordered:
            p50, p90, p99, ttft = (
                compare.geometric(getattr(f, q) for f in figures) for q in ("p50", "p90", "p99", "ttft_p90")
            )
            hits = sum(f.hit_rate for f in figures) / len(figures)
            lines.append(f"{name:24}{p50:7.2f}{p90:8.2f}{p99:8.2f}{ttft:10.3f}{hits:7.2f}{len(figures):7d}")
    return "\n".join(lines)


def summary(table: compare.Table, seeds: Sequence[int], cpu_seconds: float) -> dict[str, Any]:
    """The JSON object: ratios to the best peer, rounded to 0.1 %."""
    found = compare.verdicts(table)
    ratios = [v.p90_latency_ratio for v in found.values()]
    return {
        "workloads": {
            name: {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(verdict).items()}
            for name, verdict in found.items()
        },
        "policies": {case: {n: _means(f) for n, f in rows.items()} for case, rows in table.items()},
        "geomean_p90": _rounded(compare.geometric(ratios)),
        "geomean_p99": _rounded(compare.geometric(v.p99_latency_ratio for v in found.values())),
        "worst_p90": _rounded(max(ratios, default=math.nan)),
        "worst_p99": _rounded(max((v.p99_latency_ratio for v in found.values()), default=math.nan)),
        **_calibration(),
        "seeds": list(seeds),
        "cpu_seconds": round(cpu_seconds, 1),
    }


def _means(figures: Sequence[compare.Figures]) -> dict[str, float]:
    """Geometric means over the seeds, seconds; the hit rate is a plain mean."""
    found = {q: round(compare.geometric(getattr(f, q) for f in figures), 3) for q in ("p50", "p90", "p99", "ttft_p90")}
    return {**found, "hit_rate": round(sum(f.hit_rate for f in figures) / len(figures), 3), "seeds": len(figures)}


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)


if __name__ == "__main__":
    sys.exit(main())
