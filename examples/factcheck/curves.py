"""What other selectors would have made of the same traffic: labelling replayed, without Kafka, on recorded verdicts.

Each round the verifier is trained on what it started from and the labels so far, judges all verdicts of the rounds
until then, and a selector chooses the next ones from them; its score is its accuracy on the exam's claims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import JsonValue
from sklearn.base import clone

from examples.factcheck.features import row
from examples.factcheck.recipe import ASSERTIONS, CLASSES, exam, known, seen, verifier
from learning.intervals import mean
from learning.records import Interval, TrainingExample
from learning.select import observe, select

SELECTORS: Final = ("error-seeking", "bal", "random", "margin")


@dataclass(frozen=True)
class Traffic:
    """Recorded verdicts, a list a round, of those whose truth the oracle knows."""

    examples: Sequence[Sequence[JsonValue]]
    truth: Sequence[Sequence[str]]


def curves(traffic: Traffic, start_claims: Path, budget: int, seeds: int) -> dict[str, list[Interval]]:
    """By selector: accuracy before the first label and after each round, mean over seeds with its 95 % interval."""
    start, held_out, found = known(start_claims), exam(), {}
    for name in SELECTORS:
        runs = np.array([_curve(traffic, start, budget, name, seed, held_out) for seed in range(seeds)])
        found[name] = [mean(column) for column in runs.T]
    return found


def _curve(
    traffic: Traffic, start: Sequence[TrainingExample], budget: int, using: str, seed: int,
    held_out: Sequence[TrainingExample],
) -> list[float]:  # fmt: skip
    rng = np.random.default_rng(seed)
    labelled: list[int] = []
    pool: list[JsonValue] = []
    truth: list[str] = []
    state: Mapping[str, Any] | None = None
    scores = []
    for number in range(len(traffic.examples) + 1):
        model = clone(verifier.trainer.estimator).fit(  # type: ignore[attr-defined] # the recipe's is scikit-learn's
            [row(seen(e.example)) for e in start] + [row(seen(pool[i])) for i in labelled],
            [e.value for e in start] + [truth[i] for i in labelled],
        )
        scores.append(float(np.mean(model.predict([row(seen(e.example)) for e in held_out]) == _values(held_out))))
        if number == len(traffic.examples):
            break
        pool.extend(traffic.examples[number])
        truth.extend(traffic.truth[number])
        if not pool:
            continue
        rows = np.array([row(seen(e)) for e in pool])
        shares = model.predict_proba(rows)
        said = [CLASSES[i] for i in shares.argmax(axis=1)]
        severities = np.array([[check(e, s) for check in ASSERTIONS.values()] for e, s in zip(pool, said, strict=True)])
        doubt = 1 - np.abs(shares[:, 1] - shares[:, 0])
        chosen = select(severities, doubt, budget, state, rng, features=rows, using=using)
        wrong = np.array([said[i] != truth[i] for i in chosen])
        state = observe(state, severities, doubt, chosen, wrong, features=rows, using=using)
        labelled.extend(chosen.tolist())
    return scores


def _values(examples: Sequence[TrainingExample]) -> Any:
    return np.array([e.value for e in examples])
