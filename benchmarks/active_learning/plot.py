"""Curves of all tasks as one SVG."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

from benchmarks.active_learning.world import Array, Task

mpl.use("svg")
from matplotlib import pyplot as plt


def draw(tasks: list[Task], found: dict[str, dict[str, Array]], file: Path) -> None:
    """Mean score by labels spent, with 95 % intervals over seeds."""
    figure, axes = plt.subplots(2, (len(tasks) + 1) // 2, figsize=(4 * ((len(tasks) + 1) // 2), 7), squeeze=False)
    for task, axis in zip(tasks, axes.ravel(), strict=False):
        labels = np.arange(task.rounds + 1) * task.budget
        for name, curves in found[task.name].items():
            mean = curves.mean(axis=0)
            half = 1.96 * curves.std(axis=0, ddof=1) / np.sqrt(len(curves)) if len(curves) > 1 else 0 * mean
            (line,) = axis.plot(labels, mean, label=name, linewidth=2.2 if name == "error-seeking" else 1.1)
            axis.fill_between(labels, mean - half, mean + half, alpha=0.12, color=line.get_color())
        axis.set_title(task.name)
        axis.set_xlabel("labels")
    axes[0, 0].set_ylabel("score on the test set")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    plt.close(figure)
