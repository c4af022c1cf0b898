"""Trainers: examples and the current artefact in, the bytes of a new artefact out; and a predictor made from
bytes.

Bytes are the interface on purpose: what the gate judges is what a stage will load, not an object that
happened to be in memory. No pickle is ever written or read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import JsonValue
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from skops.io import dumps, get_untrusted_types, loads

from learning.choosing import Choosing
from learning.errors import ArtefactError, TrainingError, UnknownNameError
from learning.gate import GatePolicy
from learning.records import TrainingExample
from learning.replay import Traffic
from learning.trigger import TriggerPolicy
from learning.weak import WeakLabels
from streams.errors import ConfigError

GROUP = "descant.trainers"

Features = Callable[[JsonValue], Any]
"""An example as the model sees it: a text, or a sequence of numbers. Pure: gate, job and stage call the same
function."""


class Predictor(Protocol):
    def predict(self, examples: Sequence[JsonValue]) -> list[str]: ...
    def probabilities(self, examples: Sequence[JsonValue]) -> Mapping[str, Sequence[float]] | None:
        """By class, one number an example; None where the model has none."""
        ...


@runtime_checkable
class Trainer(Protocol):
    """Raises TrainingError where it cannot train. It may also crash: the job reports that and keeps the
    current version."""

    @property
    def format(self) -> str: ...
    def fit(self, examples: Sequence[TrainingExample], classes: Sequence[str], current: bytes | None) -> bytes: ...
    def load(self, artefact: bytes) -> Predictor: ...


@dataclass(frozen=True)
class SklearnTrainer:
    """Any scikit-learn estimator or pipeline; stored in skops format."""

    estimator: Any
    """Unfitted; it is cloned for each fit."""
    features: Features
    mode: Literal["full", "partial"] = "full"
    """`partial` continues from the current version with one `partial_fit` over the set."""
    trusted: tuple[str, ...] = ()
    """Types beyond scikit-learn's and numpy's that may be loaded, by full name."""
    format: str = "skops"

    def fit(self, examples: Sequence[TrainingExample], classes: Sequence[str], current: bytes | None) -> bytes:
        """Weights are passed where the (last) estimator takes `sample_weight`, and have no effect where it
        does not."""
        rows, values = _rows(self.features, [e.example for e in examples]), [e.value for e in examples]
        if len(set(values)) < 2:
            raise TrainingError(
                "a fit needs two classes. Label examples of another.", code="learning.training.one-class"
            )
        weights = np.array([e.weight for e in examples])
        if self.mode == "partial":
            model = clone(self.estimator) if current is None else self._loaded(current)
            if not hasattr(model, "partial_fit"):
                raise TrainingError(f"{type(model).__name__} has no partial_fit. Use mode='full'.")
            known = sorted(set(classes))
            model.partial_fit(rows, values, classes=known, **_weighted(model, weights))
        else:
            model = clone(self.estimator).fit(rows, values, **_weighted(self.estimator, weights))
        return bytes(dumps(model))

    def load(self, artefact: bytes) -> Predictor:
        """Raises ArtefactError for a type that is not trusted: loading it could run code."""
        return _SklearnPredictor(self._loaded(artefact), self.features)

    def _loaded(self, artefact: bytes) -> Any:
        unknown = sorted(set(get_untrusted_types(data=artefact)) - set(self.trusted))
        if unknown:
            raise ArtefactError(
                f"the artefact holds types that nobody trusted: {', '.join(unknown)}. If they are "
                "yours, name them in `trusted`.",
                code="learning.artefact.untrusted",
            )
        return loads(artefact, trusted=list(self.trusted))


@dataclass(frozen=True)
class _SklearnPredictor:
    model: Any
    features: Features

    def predict(self, examples: Sequence[JsonValue]) -> list[str]:
        return [str(value) for value in self.model.predict(_rows(self.features, examples))] if examples else []

    def probabilities(self, examples: Sequence[JsonValue]) -> Mapping[str, Sequence[float]] | None:
        if not hasattr(self.model, "predict_proba"):
            return None
        if not examples:
            return {str(c): [] for c in self.model.classes_}
        given = self.model.predict_proba(_rows(self.features, examples))
        return {str(c): given[:, i].tolist() for i, c in enumerate(self.model.classes_)}


def _rows(features: Features, examples: Sequence[JsonValue]) -> Any:
    rows = [features(example) for example in examples]
    return rows if rows and isinstance(rows[0], str) else np.asarray(rows, float)


def _weighted(model: Any, weights: Any) -> dict[str, Any]:
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        return {f"{name}__sample_weight": weights} if has_fit_parameter(last, "sample_weight") else {}
    return {"sample_weight": weights} if has_fit_parameter(model, "sample_weight") else {}


@dataclass(frozen=True)
class Recipe:
    """Everything that retraining one model needs. `descant learn run MODULE:NAME` runs one."""

    name: str
    classes: tuple[str, ...]
    trainer: Trainer
    start: Callable[[], Sequence[TrainingExample]] = tuple
    """Examples that every training set begins with."""
    held_out: Callable[[], Sequence[TrainingExample]] = tuple
    """What the gate judges on; never trained on, and labels of these examples are left out of every
    snapshot."""
    replay: Callable[[], Sequence[JsonValue]] = tuple
    """Examples for the assertions' rates ..."""
    traffic: Traffic | None = None
    """... and a topic whose newest records are replayed as well."""
    assertions: Mapping[str, Callable[[JsonValue, str], float]] = field(default_factory=dict)
    """(example, predicted class) -> severity; 0 abstains."""
    choosing: Choosing | None = None
    """Which flags are about this model, and how they become label requests; None: something else asks for labels."""
    weak: WeakLabels | None = None
    """Flags and functions that teach beside people; None: people alone do."""
    trigger: TriggerPolicy = field(default_factory=TriggerPolicy)
    gate: GatePolicy = field(default_factory=GatePolicy)

    def __post_init__(self) -> None:
        if self.trigger.new_flags is not None and self.choosing is None:
            raise ConfigError(
                f"recipe {self.name!r} has a trigger on flags and does not say which are its own. Give it "
                "`choosing=Choosing(...)`.",
                code="learning.recipe",
            )


def trainer(name: str) -> Trainer:
    """A registered trainer (`descant.trainers`). Raises UnknownNameError."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise UnknownNameError(f"no trainer is called {name!r}. Registered: {', '.join(sorted(found)) or 'none'}.")
    made = found[name].load()()
    if not isinstance(made, Trainer):
        raise TrainingError(f"entry point {found[name].value!r} made something without fit and load.")
    return made
