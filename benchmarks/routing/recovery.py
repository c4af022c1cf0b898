"""How long a worker's death is felt: `python -m benchmarks.routing.recovery [--json] [--seed N] [--policy P]`.

Runs `tenants/death` over a few seeds, with the death and without it, and takes the 99th percentile of the requests that
arrive in each second after it. Recovered: the first second from which on that stays below 1.25 of the p99 of the runs
without it (seven workers carry the load of eight until it returns, and a second's p99 is good to 10 %). The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from benchmarks.routing.simulation import Simulation, quantile
from benchmarks.routing.workloads import WORKLOADS
from workers.routing import policy

WORKLOAD: Final = "tenants/death"
AFTER_SECONDS: Final = 8
LEVEL: Final = 1.25


def measure(name: str, seeds: Sequence[int]) -> dict[str, Any]:
    """p99 without the death, by second after it, and when it is as without."""
    workload = WORKLOADS[WORKLOAD]
    death = workload.setup.faults[0].dies
    before: list[float] = []
    after: dict[int, list[float]] = defaultdict(list)
    unfinished = 0
    for seed in seeds:
        trace = workload.trace(seed)
        before += Simulation(trace, replace(workload.setup, faults=()), lambda: policy(name), seed).run().requests
        result = Simulation(trace, workload.setup, lambda: policy(name), seed).run()
        unfinished += result.unfinished
        for arrival, latency in zip(result.arrivals, result.requests, strict=True):
            second = int(arrival - death)
            if arrival >= death and second < AFTER_SECONDS:
                after[second].append(latency)
    old = quantile(before, 0.99)
    seconds = [quantile(after[s], 0.99) for s in range(AFTER_SECONDS)]
    late = [s for s, p99 in enumerate(seconds) if p99 > LEVEL * old]
    return {
        "policy": name,
        "p99_without": round(old, 2),
        "p99_by_second_after": [round(p99, 2) for p99 in seconds],
        "recovered_seconds": late[-1] + 1 if late else 0,
        "lost": unfinished,
        "seeds": list(seeds),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses, runs, prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing.recovery", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON object on standard output")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--policy", default="descant")
    options = parser.parse_args(arguments)
    result = measure(options.policy, [options.seed + i for i in range(options.seeds)])
    if not options.json:
        print(f"p99 without a death {result['p99_without']} s; by second after: {result['p99_by_second_after']}")
        print(f"recovered after {result['recovered_seconds']} s; lost: {result['lost']}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
