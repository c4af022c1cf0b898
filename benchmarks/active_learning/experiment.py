"""One task, one seed, one selector: rounds of choosing, labelling and training again."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from scipy.sparse import vstack

from benchmarks.active_learning.world import Array, Task, World, predictions
from learning.select import Selector, observe, select

REFERENCES = ("random", "margin", "bal")
"""What a selector must not be worse than, on any task."""


def curve(task: Task, world: World, using: Selector, seed: int) -> Array:
    """(rounds + 1,): the test score before the first label and after each round."""
    rng = np.random.default_rng([seed, 1])
    (rows, given), (pool, truth) = world.start, world.pool
    labelled: list[int] = []
    state = None
    scores = []
    for step in range(task.rounds + 1):
        model = world.model().fit(_stack(rows, pool, labelled), np.concatenate([given, truth[labelled]]))
        scores.append(world.score(world.test[1], predictions(model, world.test[0], world.classes).labels))
        if step == task.rounds:
            return np.array(scores)
        said = predictions(model, pool, world.classes)
        severities = world.assertions(said)
        chosen = select(
            severities, said.margin, task.budget, state, rng,
            features=world.likeness, probabilities=said.probabilities, using=using,
        )  # fmt: skip
        wrong = said.labels[chosen] != truth[chosen]
        state = observe(
            state, severities, said.margin, chosen, wrong,
            features=world.likeness, probabilities=said.probabilities, using=using,
        )  # fmt: skip
        labelled.extend(chosen.tolist())
    raise AssertionError("a task has rounds")


def _stack(start: Array, pool: Array, labelled: list[int]) -> Array:
    if hasattr(pool, "tocsr"):
        stacked: Array = vstack([start, pool[labelled]]).tocsr()
        return stacked
    return np.concatenate([start, pool[labelled]])


def curves(task: Task, selectors: dict[str, Selector], seeds: list[int], jobs: int = 1) -> dict[str, Array]:
    """By selector, (seeds, rounds + 1). Every selector meets the same worlds; processes change nothing but the time."""
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            found = list(pool.map(partial(_of_seed, task, selectors), seeds))
    else:
        found = [_of_seed(task, selectors, seed) for seed in seeds]
    return {name: np.array([rows[name] for rows in found]) for name in selectors}


def _of_seed(task: Task, selectors: dict[str, Selector], seed: int) -> dict[str, Array]:
    world = task.deal(np.random.default_rng([seed, 0]))
    return {name: curve(task, world, using, seed) for name, using in selectors.items()}
