"""From flagged examples to label requests: the selector applied to a pool that comes and goes.

On a stream rows have no lasting numbers, so that what is labelled is known by id, and the state keeps no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
from pydantic import JsonValue

from learning.errors import SelectionError
from learning.labels import Labels
from learning.records import Choice, LabelRequest, digest
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
    model_version: int | None = None
    """The version that predicted it."""
    proposed: str | None = None
    """The class that this flag says is right, as by its correction. A recipe with `weak=` trains on it."""
    proposals: Mapping[str, str] = field(default_factory=dict)
    """By assertion, what its flags proposed."""


UNTAUGHT_MAX: Final = 2_000
"""Labels that a selector still waits for; of more, the oldest teach it nothing."""


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


@dataclass(frozen=True)
class Choosing:
    """How label requests of one model are chosen among what assertions flag."""

    example: Callable[[Mapping[str, Any]], Flagged | None]
    """A standing flag, as the JSON of its record -> the example that it is about; None where that is of no use to this
    model. Severities, flag ids and proposals are filled in. Several flags of one example give the same `id`."""
    features: Callable[[JsonValue], Sequence[float]] | None = None
    """What makes two examples alike, so that a batch is diverse."""
    budget: int = 20
    """Label requests of a round, and the most that wait at a time."""
    points_min: int = 60
    """A round waits until there are so many to choose from ..."""
    quiet_seconds: float = 3_600.0
    """... or until none has come for so long after the last one that is new: there are no more to wait for."""
    left_over: float = 0.2
    """A round also waits until no more than this share of the budget is unlabelled: who labels slowly is not buried."""
    history_seconds: float = 7 * 86_400.0
    """How old flags may be."""
    using: str = registry.DEFAULT


def due(choosing: Choosing, *, unlabelled: int, points: int, quiet_seconds: float | None) -> bool:
    """Whether a round is chosen now, from so many points. `quiet_seconds`: since the last new one; None: none has come
    since the round before. What is left over of it was flagged for an older version, as a rule, and can wait."""
    if not points or unlabelled > choosing.left_over * choosing.budget:
        return False
    return points >= choosing.points_min or (quiet_seconds is not None and quiet_seconds >= choosing.quiet_seconds)


def a_round(
    choosing: Choosing, model: str, classes: Sequence[str], found: Iterable[Flagged], labels: Labels,
    before: Choice | None, current: int | None, now: datetime,
) -> tuple[Choice, list[LabelRequest]]:  # fmt: skip
    """The next round: what the labels of earlier ones taught, and the requests. Pure: the same for the same flags,
    labels and round, in any process.

    found    what is flagged; what was asked for already is passed over
    before   the round before
    current  the model's version: what earlier versions were flagged for is left alone while there is enough of this one
    """
    asked = {r.id: _of_request(choosing, r) for r in labels.requests.values() if r.model == model}
    fresh = {e.id: e for e in found if e.id not in asked}
    examples = sorted((asked | fresh).values(), key=lambda e: e.id)
    known = before.assertions if before is not None else ()
    names = (*known, *sorted({name for e in examples for name in e.severities} - set(known)))
    pool = Pool(examples, names)
    state: State | None = None
    untaught = before.untaught if before is not None else ()
    if before is not None and before.selector == choosing.using:
        state = before.state
    values = {name: labels.opinion(name).value for name in untaught}
    said = {name: value for name, value in values.items() if value is not None}
    if said:
        state = taught(pool, said, state, using=choosing.using)
    number = 1 if before is None else before.round + 1
    of_now = [name for name, e in fresh.items() if e.model_version == current]
    stale = set(fresh) - set(of_now) if len(of_now) >= choosing.budget else set()
    waiting = len(labels.pending(model))
    batch = requests(
        pool, model=model, classes=classes, budget=max(1, choosing.budget - waiting), state=state,
        rng=np.random.default_rng([int(digest([model]), 16), number]), now=now, asked={*asked, *stale},
        using=choosing.using, number=number,
    )  # fmt: skip
    left = [name for name in untaught if name not in said]
    choice = Choice(
        model=model, round=number, at=now, selector=choosing.using, assertions=names,
        state=None if state is None else dict(state),
        untaught=tuple([*left, *(r.id for r in batch)][-UNTAUGHT_MAX:]),
    )  # fmt: skip
    return choice, batch


def _of_request(choosing: Choosing, request: LabelRequest) -> Flagged:
    features = None if choosing.features is None else tuple(choosing.features(request.example))
    return Flagged(
        request.id, request.example, request.severities, request.flags, request.predicted, request.uncertainty,
        features, request.request, request.entity, request.model_version,
    )  # fmt: skip


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
    number: int = 1,
) -> list[LabelRequest]:
    """Put at most `budget` examples up for labelling, best first; none that was `asked` for (by id) before.

    number   of the round
    Raises   SelectionError; UnknownNameError for a selector that nobody registered
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
            model_version=e.model_version, flags=e.flags, severities=e.severities, uncertainty=e.uncertainty,
            request=e.request, entity=e.entity, selector=selector(using).name, round=number, requested_at=now,
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
