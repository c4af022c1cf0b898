"""What rules are worth without any human label: python -m benchmarks.weak_supervision --json

The model of each task of benchmarks.active_learning is trained again on its biased start, on what the rules say,
weighted by how far they are trusted, and on its own word where no rule speaks. `relative_gain` is (published −
before) / before, by mean scores over seeds: a candidate that the gate does not promote publishes nothing and counts
0. The gate judges on 150 held-back labels, which neither the model nor the score sees. `ungated_relative_gain` is
what would have come of promoting all; `checked_relative_gain` is published when the rules' trust was measured on 40
labelled points instead of assumed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: small matrices gain nothing

import numpy as np

from benchmarks.active_learning.__main__ import TASKS
from benchmarks.active_learning.world import Task
from benchmarks.results import report
from benchmarks.weak_supervision.experiment import Outcome, run
from learning.records import Verdict
from streams.errors import DescantError


def outcomes(task: Task, seeds: range, jobs: int) -> tuple[list[Outcome], list[Outcome]]:
    """Without and with 40 labels to check the rules by."""
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            found = list(pool.map(partial(of_seed, task), seeds))
    else:
        found = [of_seed(task, seed) for seed in seeds]
    return [assumed for assumed, _ in found], [checked for _, checked in found]


def of_seed(task: Task, seed: int) -> tuple[Outcome, Outcome]:
    world = task.deal(np.random.default_rng([seed, 0]))
    assumed, checked = (run(world, np.random.default_rng([seed, 2]), checked=each) for each in (False, True))
    return assumed, checked


def gain(found: list[Outcome], *, gated: bool) -> float:
    before = np.mean([o.before for o in found])
    after = np.mean([o.after if o.verdict is Verdict.PROMOTE or not gated else o.before for o in found])
    return round(float((after - before) / before), 3)


def figures(assumed: list[Outcome], checked: list[Outcome]) -> dict[str, object]:
    harmful = [o for o in (*assumed, *checked) if o.after < o.before]
    right = [o.right for o in assumed if o.examples]
    return {
        "relative_gain": gain(assumed, gated=True),
        "ungated_relative_gain": gain(assumed, gated=False),
        "checked_relative_gain": gain(checked, gated=True),
        "before": round(float(np.mean([o.before for o in assumed])), 4),
        "promoted": sum(o.verdict is Verdict.PROMOTE for o in assumed),
        "harmful": len(harmful),
        "harmful_promoted": sum(o.verdict is Verdict.PROMOTE for o in harmful),
        "weak_examples": round(float(np.mean([o.examples for o in assumed]))),
        "weak_examples_right": round(float(np.mean(right)), 3) if right else None,
        "conflicts": round(float(np.mean([o.conflicts for o in assumed])), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.weak_supervision", description=__doc__)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the seeds; 0: as many as cores")
    parser.add_argument("--tasks", default=",".join(task.name for task in TASKS))
    parser.add_argument("--quick", action="store_true", help="3 seeds: a look, no evidence")
    parser.add_argument("--json", action="store_true", help="only the JSON line on stdout; progress goes to stderr")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results/")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    wanted = options.tasks.split(",")
    if unknown := sorted(set(wanted) - {task.name for task in TASKS}):
        parser.error(f"no task is called {', '.join(unknown)}")
    progress = sys.stderr if options.json else sys.stdout
    count = 3 if options.quick else options.seeds
    answer: dict[str, dict[str, object]] = {}
    try:
        for task in (task for task in TASKS if task.name in wanted):
            begun = time.perf_counter()
            seeds = range(options.first_seed, options.first_seed + count)
            answer[task.name] = figures(*outcomes(task, seeds, options.jobs or os.cpu_count() or 1))
            shown = ", ".join(f"{k} {v}" for k, v in answer[task.name].items())
            print(f"{task.name}: {shown}; {time.perf_counter() - begun:.0f} s", file=progress, flush=True)
    except DescantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report("weak_supervision", {"bench": "weak_supervision", "seeds": count, "tasks": answer}, save=options.save)
    return 0


if __name__ == "__main__":
    sys.exit(main())
