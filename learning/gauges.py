"""The learning metrics of one process, from the fold of the topics."""

from __future__ import annotations

from collections.abc import Iterable

from learning.labels import precision
from learning.versions import current_of
from learning.view import Learned
from streams import metrics


def show(learned: Learned, models: Iterable[str]) -> None:
    """Set them anew; called by the processes that own a View, every few seconds."""
    for model in models:
        for assertion, (confirmed, judged) in precision(learned.labels, model).items():
            metrics.CONFIRMED.labels(model, assertion).set(confirmed)
            metrics.JUDGED.labels(model, assertion).set(judged)
        current = current_of(learned.known(model))
        for assertion, rates in (current.gate.firings if current is not None else {}).items():
            for role, rate in zip(("parent", "current"), rates, strict=True):
                metrics.FIRES.labels(model, assertion, role).set(rate)
