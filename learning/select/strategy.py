"""What a selection strategy is, and the two calls that run any of them on plain arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from learning.errors import SelectionError
from learning.select.candidates import Bools, Candidates, Indices, candidates
from learning.select.draws import draw

State = Mapping[str, Any]
"""What earlier rounds taught a strategy: JSON data (`labelled`: row numbers; the rest is the strategy's own),
so that it can be stored on a topic. Another process with the same state and generator chooses the same
points."""


@runtime_checkable
class Selector(Protocol):
    """Chooses points and learns from their labels. Pure: randomness comes in, nothing is kept.

    `choose` returns at most `budget` distinct open points, best first; `select` fills up what is missing with
    random ones. `learn` returns what the next round shall know; `known` is what it returned before, empty in
    the first round. Both may raise SelectionError only.
    """

    @property
    def name(self) -> str: ...
    def choose(self, points: Candidates, budget: int, known: State, rng: np.random.Generator) -> Indices: ...
    def learn(self, points: Candidates, chosen: Indices, wrong: Bools, known: State) -> State: ...


def choose(
    selector: Selector, points: Candidates, budget: int, state: State | None, rng: np.random.Generator
) -> Indices:
    """Run one selector and hold it to the protocol: min(budget, open points) distinct open points.

    Raises SelectionError; `rng` is then as it was, whatever the selector had drawn from it.
    """
    if isinstance(budget, bool) or not isinstance(budget, int | np.integer) or budget < 1:
        raise SelectionError(f"budget is {budget!r}; it must be a whole number of at least 1.")
    known, points = _restored(selector, points, state)
    before = rng.bit_generator.state
    try:
        if not (found := points.open).any():
            return np.zeros(0, np.intp)
        chosen = np.asarray(selector.choose(points, int(budget), known, rng), np.intp)
        if np.unique(chosen).size != chosen.size or chosen.size > budget or not found[chosen].all():
            raise SelectionError(f"selector {selector.name!r} chose a point twice, too many, or labelled ones.")
        rest = points.open.astype(float)
        rest[chosen] = 0
        return np.concatenate([chosen, draw(rest, int(budget) - chosen.size, rng)])
    except Exception:
        rng.bit_generator.state = before
        raise


def learn(selector: Selector, points: Candidates, chosen: ArrayLike, wrong: ArrayLike, state: State | None) -> State:
    """The state after a round's labels have come. Raises SelectionError."""
    known, points = _restored(selector, points, state)
    rows, errors = np.asarray(chosen, np.intp), np.asarray(wrong, bool)
    if rows.ndim != 1 or rows.shape != errors.shape or np.unique(rows).size != rows.size:
        raise SelectionError("chosen and wrong must be of one length, with no point twice.")
    if rows.size and (rows.min() < 0 or rows.max() >= points.points):
        raise SelectionError(f"chosen must be row numbers below {points.points}.")
    taught = dict(selector.learn(points, rows, errors, known))
    before = (state or {}).get("labelled", [])
    return {
        **taught,
        "selector": selector.name,
        "round": int((state or {}).get("round", 0)) + 1,
        "labelled": sorted({*before, *rows.tolist()}),
    }


def _restored(selector: Selector, points: Candidates, state: State | None) -> tuple[State, Candidates]:
    """The strategy's part of a state, and the points without those that the state says are labelled."""
    if not state:
        return {}, points
    if (owner := state.get("selector")) != selector.name:
        raise SelectionError(f"this state was taught to {owner!r}, not to {selector.name!r}. Start it anew with None.")
    labelled = np.asarray(state.get("labelled", []), np.intp)
    if labelled.size and labelled.max() >= points.points:
        raise SelectionError(
            "the state names labelled rows that are not there. Rows must keep their numbers between rounds."
        )
    mask = np.zeros(points.points, bool) if points.closed is None else points.closed.copy()
    mask[labelled] = True
    known = {k: v for k, v in state.items() if k not in {"labelled", "selector"}}
    return known, Candidates(points.severities, points.uncertainty, points.probabilities, points.features, mask)


def stored(state: State) -> str:
    """The state as one line of JSON."""
    return json.dumps(state, separators=(",", ":"), sort_keys=True)


def restored(line: str | bytes) -> State:
    """What `stored` wrote. Raises SelectionError for anything else."""
    try:
        state = json.loads(line)
    except ValueError:
        state = None
    if not isinstance(state, dict) or "selector" not in state:
        raise SelectionError("this is not a selector's state. Start anew with None.")
    return cast("State", state)


__all__ = ["Selector", "State", "candidates", "choose", "learn", "restored", "stored"]
