"""One task, one seed: rules instead of labels, with the gate behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import vstack
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from benchmarks.active_learning.world import Array, Predictions, World, predictions
from learning.gate import Answers, GatePolicy, judge
from learning.records import GateResult, Verdict
from learning.weak import Proposal, Trust, own_predictions, resolve, trust

HELD_BACK = 150
"""Labelled points of the gate: never trained on, and no part of the test score."""
CHECKED = 40
"""Labelled points by which rules are checked, where they are."""
OWN_WEIGHT = 0.3


@dataclass(frozen=True)
class Outcome:
    before: float
    after: float
    """Score of what the weak examples made, whether or not the gate lets it through."""
    verdict: Verdict
    examples: int
    conflicts: int
    right: float
    """Share of the weak examples whose class is the true one; nan where there are none."""


def run(world: World, rng: np.random.Generator, *, checked: bool, own_weight: float = OWN_WEIGHT) -> Outcome:
    """Train on the start, the rules' examples and the model's own word elsewhere; then ask the gate."""
    (rows, given), (pool, truth) = world.start, world.pool
    first = world.model().fit(rows, given)
    said = predictions(first, pool, world.classes)
    order = rng.permutation(len(world.test[1]))
    held, tested = order[:HELD_BACK], order[HELD_BACK:]
    before = _score(world, first, tested)

    proposals = [
        Proposal(str(i), rule, str(value))
        for rule, values in world.weak(said)
        for i, value in enumerate(values.tolist())
        if value >= 0
    ]
    known: Mapping[str, Trust] = {}
    if checked:
        known = trust(proposals, {str(i): str(truth[i]) for i in rng.permutation(len(truth))[:CHECKED]})
    every = {str(i): None for i in range(len(truth))}
    weak = resolve(proposals, every, [str(c) for c in range(world.classes)], known)
    spoken = [p.example for p in proposals]
    own = own_predictions({str(i): str(c) for i, c in enumerate(said.labels)}, every, without=spoken, weight=own_weight)
    if not weak.examples:
        return Outcome(before, before, Verdict.HOLD, 0, len(weak.conflicts), float("nan"))
    added = (*weak.examples, *own)
    at = np.array([int(e.id) for e in added])
    model = _fit(
        world, _stack(rows, pool[at]), np.concatenate([given, [int(e.value) for e in added]]),
        np.concatenate([np.ones(len(given)), [e.weight for e in added]]), rng,
    )  # fmt: skip
    verdict = _gate(world, first, model, held, rng)
    right = float(np.mean([int(e.value) == truth[int(e.id)] for e in weak.examples]))
    return Outcome(
        before, _score(world, model, tested), verdict.verdict, len(weak.examples), len(weak.conflicts), right
    )


def _score(world: World, model: Any, rows: Array) -> float:
    features, truth = world.test
    return world.score(truth[rows], _said(world, model, features[rows]).labels)


def _said(world: World, model: Any, features: Any) -> Predictions:
    return predictions(model, features, world.classes)


def _gate(world: World, first: Any, model: Any, held: Array, rng: np.random.Generator) -> GateResult:
    features, truth = world.test
    current, candidate = ([str(c) for c in _said(world, m, features[held]).labels] for m in (first, model))
    return judge(GatePolicy(), [str(c) for c in truth[held]], Answers(candidate), Answers(current), rng)


def _fit(world: World, rows: Any, values: Array, weights: Array, rng: np.random.Generator) -> Any:
    model = world.model()
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    if has_fit_parameter(last, "sample_weight"):
        name = f"{model.steps[-1][0]}__sample_weight" if isinstance(model, Pipeline) else "sample_weight"
        return model.fit(rows, values, **{name: weights})
    # A model that takes no weights meets each row with the probability that is its weight.
    kept = rng.random(len(weights)) < weights
    return model.fit(rows[kept], values[kept])


def _stack(start: Any, rows: Any) -> Any:
    return vstack([start, rows]).tocsr() if hasattr(rows, "tocsr") else np.concatenate([start, rows])
