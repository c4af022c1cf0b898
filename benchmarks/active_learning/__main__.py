"""How many labels a selector saves, on six tasks: python -m benchmarks.active_learning --json

Every selector meets the same pools, the same biased first model and the same seeds. `saving_vs_random` is the
share of random's labels that the selector does not need for the score that random ends with; where it ends
below, the same the other way round, negative. `worse_than_best` compares with the best of random, margin and
BAL *in hindsight*, per task, in the final score and in the area under the curve: true where a 95 % bootstrap
interval over seeds lies below 0.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: small matrices gain nothing, and figures stay comparable

import numpy as np

from benchmarks.active_learning import boxes, digits, texts
from benchmarks.active_learning.experiment import REFERENCES, curves
from benchmarks.active_learning.figures import area, difference, saving, saving_interval
from benchmarks.active_learning.plot import draw
from benchmarks.active_learning.world import Array, Task
from benchmarks.results import report
from learning.select import registry, selector
from streams.errors import DescantError

TASKS: tuple[Task, ...] = (*texts.TASKS, *digits.TASKS, *boxes.TASKS)


def figures(found: dict[str, Array], using: str) -> dict[str, object]:
    """What is reported of one task."""
    rng = np.random.default_rng(0)
    ours = found[using]
    best = max(REFERENCES, key=lambda name: found[name][:, -1].mean())
    widest = max(REFERENCES, key=lambda name: area(found[name]).mean())
    final = difference(ours[:, -1], found[best][:, -1], rng)
    under = difference(area(ours), area(found[widest]), rng)
    return {
        "saving_vs_random": round(saving(ours, found["random"]), 3),
        "saving_vs_random_5_95": [round(x, 3) for x in saving_interval(ours, found["random"], rng)],
        "saving_vs_uncertainty": round(saving(ours, found["margin"]), 3),
        "saving_vs_uncertainty_5_95": [round(x, 3) for x in saving_interval(ours, found["margin"], rng)],
        "final": round(float(ours[:, -1].mean()), 4),
        "best_baseline": best,
        "best_baseline_final": round(float(found[best][:, -1].mean()), 4),
        "final_minus_best_95": [round(x, 4) for x in final],
        "area_minus_best_95": [round(x, 4) for x in under],
        "worse_than_best": bool(final[2] < 0 or under[2] < 0),
        "finals": {name: round(float(rows[:, -1].mean()), 4) for name, rows in found.items()},
        "curve": [round(float(x), 4) for x in ours.mean(axis=0)],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.active_learning", description=__doc__)
    parser.add_argument("--seeds", type=int, default=24, help="how many (default 24; about 10 s of CPU each)")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the seeds; 0: as many as cores")
    parser.add_argument("--tasks", default=",".join(task.name for task in TASKS))
    parser.add_argument("--selector", default=registry.DEFAULT, help=f"one of {', '.join(registry.names())}")
    parser.add_argument("--also", default="bandit", help="further selectors to show, by comma")
    parser.add_argument("--quick", action="store_true", help="4 seeds: a look, no evidence")
    parser.add_argument("--svg", type=Path, help="write the curves to this file")
    parser.add_argument("--json", action="store_true", help="only the JSON line on stdout; progress goes to stderr")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results/")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")  # a small net that has not converged is the task, not a fault

    wanted = options.tasks.split(",")
    if unknown := sorted(set(wanted) - {task.name for task in TASKS}):
        parser.error(f"no task is called {', '.join(unknown)}")
    tasks = [task for task in TASKS if task.name in wanted]
    names = list(dict.fromkeys([*REFERENCES, *filter(None, options.also.split(",")), options.selector]))
    seeds = list(range(options.first_seed, options.first_seed + (4 if options.quick else options.seeds)))
    progress = sys.stderr if options.json else sys.stdout
    found: dict[str, dict[str, Array]] = {}
    answer: dict[str, dict[str, object]] = {}
    try:
        selectors = {name: selector(name) for name in names}
        for task in tasks:
            begun = time.perf_counter()
            found[task.name] = curves(task, selectors, seeds, options.jobs or os.cpu_count() or 1)
            answer[task.name] = figures(found[task.name], options.selector)
            print(
                f"{task.name}: {task.about}; {len(seeds)} seeds, {time.perf_counter() - begun:.0f} s",
                file=progress,
                flush=True,
            )
            for name, rows in found[task.name].items():
                print(f"  {name:18s} final {rows[:, -1].mean():.3f}  area {area(rows).mean():.3f}", file=progress)
    except DescantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.svg:
        draw(tasks, found, options.svg)
    report(
        "active_learning",
        {"bench": "active_learning", "selector": options.selector, "seeds": len(seeds), "tasks": answer},
        save=options.save,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
