"""What an example shows with `--learn`: its model learns offline from what its assertions flag."""

from __future__ import annotations

import json
import sys
from typing import Final

import numpy as np

from learning.intervals import mean
from learning.rehearsal import Lesson, Standing, rehearse

SELECTORS: Final = ("error-seeking", "bal", "random", "margin")
SEEDS: Final = 8


def learned(title: str, lesson: Lesson, *, budget: int, rounds: int = 5) -> None:
    """Print the curves, and as the last line one JSON object; `--json` leaves the tables out. `error-seeking` is what
    Descant chooses with by default; each selector meets the same start, traffic, gate and exam."""
    runs = {
        name: [rehearse(lesson, name, budget=budget, rounds=rounds, seed=seed) for seed in range(SEEDS)]
        for name in SELECTORS
    }
    steps = range(rounds + 1)
    accuracy = {name: [mean([run[step].accuracy for run in found]) for step in steps] for name, found in runs.items()}
    ours = runs[SELECTORS[0]]
    fires = {name: (_mean_fires(ours, 0, name), _mean_fires(ours, -1, name)) for name in lesson.assertions}
    judged = {name: [sum(run[-1].precision[name][i] for run in ours) for i in (0, 1)] for name in lesson.assertions}
    if "--json" not in sys.argv:
        print(f"{title}\n\nlabels" + "".join(f"{name:>16}" for name in SELECTORS))
        for step in steps:
            print(f"{step * budget:6}" + "".join(f"{accuracy[name][step].value:16.1%}" for name in SELECTORS))
        print(f"\n{'assertion':28}{'confirmed':>10}{'judged':>8}{'fires before':>14}{'after':>8}   (error-seeking)")
        for name in lesson.assertions:
            print(f"{name:28}{judged[name][0]:10}{judged[name][1]:8}{fires[name][0]:14.1%}{fires[name][1]:8.1%}")
        print(f"\naccuracy on {len(lesson.exam[1])} exam points, mean of {SEEDS} seeds; judged over all seeds")
    print(
        json.dumps(
            {
                "labels": [step * budget for step in steps],
                "accuracy": {name: [round(i.value, 4) for i in points] for name, points in accuracy.items()},
                "fires": {name: [round(share, 4) for share in pair] for name, pair in fires.items()},
                "precision": judged,
                "exam": len(lesson.exam[1]),
            }
        )
    )


def _mean_fires(runs: list[list[Standing]], step: int, name: str) -> float:
    return float(np.mean([run[step].fires[name] for run in runs]))
