"""How long a choice takes: python -m benchmarks.select --json

100,000 flagged points × 20 assertions, 32 features, a batch of 100, in the second round, on one core, all assertions firing
on every point (dense) and each on a tenth (sparse). Of 9 calls: the median and the fastest on the clock, and the median of
CPU time, which other processes on the machine disturb less.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: one core is what is measured

import numpy as np

from benchmarks.results import report
from learning.select import observe, registry, select

CALLS = 9


def milliseconds(using: str, share: float, points: int, assertions: int, batch: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    severities = np.where(rng.random((points, assertions)) < share, rng.random((points, assertions)) + 0.01, 0)
    severities[~severities.any(axis=1), 0] = 1.0
    uncertainty, features = rng.random(points), rng.normal(size=(points, 32))
    before = np.concatenate([severities, severities[: points // 10] + 0.1])
    state = observe(
        None, before, np.concatenate([uncertainty, uncertainty[: points // 10]]), np.arange(batch),
        rng.random(batch) < 0.3, using=using,
    )  # fmt: skip
    clock, cpu = [], []
    for call in range(CALLS):
        begun, used = time.perf_counter(), time.process_time()
        select(severities, uncertainty, batch, state, np.random.default_rng(call), features=features, using=using)
        clock.append((time.perf_counter() - begun) * 1000)
        cpu.append((time.process_time() - used) * 1000)
    return {
        "median": round(float(np.median(clock)), 1),
        "fastest": round(min(clock), 1),
        "cpu": round(float(np.median(cpu)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.select", description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--assertions", type=int, default=20)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="only the JSON line on stdout; progress goes to stderr")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results/")
    options = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for using in (registry.DEFAULT, "bandit", "bal", "margin", "random"):
        found[using] = {
            name: milliseconds(using, share, options.points, options.assertions, options.batch)
            for name, share in (("dense", 1.0), ("sparse", 0.1))
        }
        print(f"{using:16s} {found[using]}", file=sys.stderr if options.json else sys.stdout, flush=True)
    report("select", {"bench": "select", "milliseconds": found}, save=options.save)


if __name__ == "__main__":
    main()
