"""One id's way from flag to label request, label, training set and model version."""

from __future__ import annotations

from dataclasses import dataclass

from learning.artefacts import Store
from learning.errors import LabelError
from learning.records import Label, LabelRequest, ModelVersion, TrainingSet
from learning.view import Learned


@dataclass(frozen=True)
class Trace:
    request: LabelRequest
    labels: tuple[Label, ...]
    """Standing ones."""
    versions: tuple[ModelVersion, ...]
    """Those that were trained on the example."""


def trace(learned: Learned, store: Store | None, name: str) -> list[Trace]:
    """What became of a flag or an example. Without a store the versions are not looked into.

    Raises LabelError where no label request names it.
    """
    requests = [r for r in learned.labels.requests.values() if name == r.id or name in r.flags]
    if not requests:
        raise LabelError(
            f"{name!r} is neither a flag nor an example that was put up for labelling.", code="learning.label.unknown"
        )
    found = []
    for request in sorted(requests, key=lambda r: r.id):
        versions = [] if store is None else [v for v in learned.known(request.model) if _holds(store, v, request.id)]
        found.append(Trace(request, learned.labels.opinion(request.id).labels, tuple(versions)))
    return found


def _holds(store: Store, version: ModelVersion, example: str) -> bool:
    return any(e.id == example for e in TrainingSet.read(store.get(version.training_set)).examples)
