"""The results in docs/routing.md, written between two marks: `python -m benchmarks.routing.page PAGE RESULT.json ...`.

Several results (each the JSON object of one run, say one a workload) become one table.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from streams.errors import ConfigError

BEGIN: Final = "<!-- results: written by benchmarks.routing.page -->"
END: Final = "<!-- end of results -->"


def write(path: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Replaces what is between the marks. Raises ConfigError where the page has no marks."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"{path.name} has no marks {BEGIN!r} and {END!r} to write between.", code="config.page")
    path.write_text(f"{before}{BEGIN}\n{tables(results)}\n{END}{after}", encoding="utf-8")


def tables(results: Sequence[Mapping[str, Any]]) -> str:
    """Ours against the best peer a workload, then all policies over all workloads."""
    workloads = {name: v for r in results for name, v in r["workloads"].items()}
    policies = {name: v for r in results for name, v in r["policies"].items()}
    seeds = sorted({s for r in results for s in r["seeds"]})
    lines = [
        f"Seeds {', '.join(map(str, seeds))}. Request latency of `descant` ÷ that of the best peer, chosen for each "
        "quantile of each workload; below 1 is better, losses are bold.",
        "",
        "| workload | p90 | best peer | p99 | best peer | p90, s | p99, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, verdict in workloads.items():
        ours = policies[name]["descant"]
        lines.append(
            f"| {name} | {_ratio(verdict['p90_latency_ratio'])} | {verdict['best_peer']} "
            f"| {_ratio(verdict['p99_latency_ratio'])} | {verdict['best_peer_p99']} | {ours['p90']:.2f} | {ours['p99']:.2f} |"
        )
    p90 = [v["p90_latency_ratio"] for v in workloads.values()]
    p99 = [v["p99_latency_ratio"] for v in workloads.values()]
    lines.append(f"| geometric mean | {_geometric(p90):.3f} | | {_geometric(p99):.3f} | | | |")
    lines += [
        "",
        "Every policy ÷ the best peer of the workload, geometric means over the workloads (first seed at least):",
    ]
    lines += ["", "| policy | p90 | p99 | prefix hits |", "|---|---|---|---|", *_rows(policies)]
    return "\n".join(lines)


def _rows(policies: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    names = {n for rows in policies.values() for n in rows if all(n in r for r in policies.values())}
    ranked = []
    for name in names:
        ratios = {
            q: _geometric(
                [rows[name][q] / min(f[q] for n, f in rows.items() if n != "descant") for rows in policies.values()]
            )
            for q in ("p90", "p99")
        }
        hits = statistics.fmean(rows[name]["hit_rate"] for rows in policies.values())
        ranked.append((ratios["p90"], f"| {name} | {ratios['p90']:.2f} | {ratios['p99']:.2f} | {hits:.0%} |"))
    return [row for _, row in sorted(ranked)]


def _ratio(value: float) -> str:
    return f"**{value:.3f}**" if value > 1 else f"{value:.3f}"


def _geometric(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(v) for v in values))


def main(arguments: Sequence[str]) -> int:
    """Reads results, whose last line is the object, and writes the page."""
    if len(arguments) < 2:
        print("usage: python -m benchmarks.routing.page PAGE RESULT.json ...", file=sys.stderr)
        return 2
    results = [json.loads(Path(a).read_text(encoding="utf-8").splitlines()[-1]) for a in arguments[1:]]
    write(Path(arguments[0]), results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
