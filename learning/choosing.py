"""From flagged examples to label requests: the selector applied to a pool that comes and goes.

On a stream rows have no lasting numbers, so that what is labelled is known by id, and the state keeps no rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from pydantic import JsonValue

from learning.errors import SelectionError
from learning.records import LabelRequest
from learning.select import State, observe, registry, select, selector


@dataclass(frozen=True)
class Flagged:
    """One example that could be labelled; with no severity it is there for comparison."""

    id: str
    example: JsonValue
    severities: Mapping[str, float] = field(default_factory=dict)
    """By assertion, those that fired."""
    flags: tuple[str, ...] = ()
    predicted: str | None = None
    uncertainty: float | None = None
    features: tuple[float, ...] | None = None
    request: str | None = None
    entity: str | None = None


@dataclass(frozen=True)
class Pool:
    """A round's examples in a fixed order, as the arrays that a selector takes."""

    examples: Sequence[Flagged]
    assertions: Sequence[str]
    """Column by column. Later rounds may add names at the end, and must keep the others' places."""

    @property
    def severities(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        table = np.zeros((len(self.examples), len(self.assertions)))
        columns = {name: j for j, name in enumerate(self.assertions)}
        for i, example in enumerate(self.examples):
            for name, severity in example.severities.items():
                if name not in columns:
                    raise SelectionError(
                        f"assertion {name!r} is not among the pool's. Add it at the end of `assertions`."
                    )
                table[i, columns[name]] = severity
        return table

    @property
    def uncertainty(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
        """None unless every example has one."""
        given = [e.uncertainty for e in self.examples if e.uncertainty is not None]
        return np.array(given) if given and len(given) == len(self.examples) else None

    @property
    def features(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
        """None unless every example has them."""
        given = [e.features for e in self.examples if e.features is not None]
        return np.array(given, float) if given and len(given) == len(self.examples) else None


def requests(
    pool: Pool,
    *,
    model: str,
    classes: Sequence[str],
    budget: int,
    state: State | None,
    rng: np.random.Generator,
    now: datetime,
    asked: Collection[str] = (),
    using: str = registry.DEFAULT,
    model_version: int | None = None,
) -> list[LabelRequest]:
    """Put at most `budget` examples up for labelling, best first; none that was `asked` for (by id) before.

    Raises SelectionError; UnknownNameError for a selector that nobody registered.
    """
    if not pool.examples:
        return []
    known = set(asked)
    mask = np.array([e.id in known for e in pool.examples])
    rows = select(
        pool.severities, pool.uncertainty, budget, state, rng, features=pool.features, labelled=mask, using=using
    )
    chosen = [pool.examples[int(row)] for row in rows]
    return [
        LabelRequest(
            id=e.id, model=model, example=e.example, classes=tuple(classes), predicted=e.predicted,
            model_version=model_version, flags=e.flags, severities=e.severities, uncertainty=e.uncertainty,
            request=e.request, entity=e.entity, selector=selector(using).name,
            round=int((state or {}).get("round", 0)) + 1, requested_at=now,
        )
        for e in chosen
    ]  # fmt: skip


def taught(pool: Pool, labels: Mapping[str, str], state: State | None, *, using: str = registry.DEFAULT) -> State:
    """The state after labels came for examples of the pool; those without a prediction say nothing about errors."""
    judged = [(i, labels[e.id] != e.predicted) for i, e in enumerate(pool.examples) if e.id in labels and e.predicted]
    rows, wrong = [i for i, _ in judged], [w for _, w in judged]
    learned = observe(
        state, pool.severities, pool.uncertainty, np.array(rows, np.intp), np.array(wrong, bool),
        features=pool.features, using=using,
    )  # fmt: skip
    return {**learned, "labelled": []}
