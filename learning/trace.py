"""One id's way from flag to label request, label, training set and model version."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from learning.artefacts import Store
from learning.errors import ArtefactError, LabelError
from learning.records import Label, LabelRequest, ModelVersion, TrainingExample, TrainingSet
from learning.view import Learned


@dataclass(frozen=True)
class Trace:
    example: str
    model: str
    flags: tuple[str, ...]
    request: LabelRequest | None
    """None: nobody was asked, rules alone gave its class."""
    labels: tuple[Label, ...]
    """Standing ones."""
    rules: tuple[str, ...]
    """Those that gave its class in any of the versions."""
    versions: tuple[ModelVersion, ...]
    """Those that were trained on the example."""


def trace(learned: Learned, store: Store | None, name: str) -> list[Trace]:
    """What became of a flag or an example. Without a store the versions are not looked into.

    Raises LabelError where no label request and no training set names it, ArtefactError where a training set of the
    model that it was asked for is not in the store.
    """
    requests = {(r.model, r.id): r for r in learned.labels.requests.values() if name == r.id or name in r.flags}
    taught: dict[tuple[str, str], list[tuple[ModelVersion, TrainingExample]]] = {place: [] for place in requests}
    models = {model for model, _ in requests} or learned.models
    for version, e in () if store is None else _lessons(learned, store, models, are_all_there=bool(requests)):
        place = (version.name, e.id)
        if place in requests or name in {e.id, *e.flags}:
            taught.setdefault(place, []).append((version, e))
    if not taught:
        raise LabelError(
            f"{name!r} is neither a flag nor an example that was put up for labelling, or trained on in this store.",
            code="learning.label.unknown",
        )
    return [_trace(learned, place, requests.get(place), lessons) for place, lessons in sorted(taught.items())]


def _lessons(
    learned: Learned, store: Store, models: Collection[str], *, are_all_there: bool
) -> Iterator[tuple[ModelVersion, TrainingExample]]:
    for version in (version for model in sorted(models) for version in learned.known(model)):
        try:
            examples = TrainingSet.read(store.get(version.training_set)).examples
        except ArtefactError:
            if are_all_there:
                raise
            continue  # any model may have been taught by it, and another model's store is another
        for example in examples:
            yield version, example


def _trace(
    learned: Learned, place: tuple[str, str], request: LabelRequest | None,
    lessons: list[tuple[ModelVersion, TrainingExample]],
) -> Trace:  # fmt: skip
    model, example = place
    flags = request.flags if request is not None else lessons[-1][1].flags
    rules = dict.fromkeys(rule for _, e in lessons for rule in e.rules)
    said = learned.labels.opinion(example).labels if request is not None else ()
    return Trace(example, model, flags, request, said, tuple(rules), tuple(version for version, _ in lessons))
