"""The phases of one retraining job: each takes what the one before left in the store, so that any process can go on.

Nothing here knows Kafka. A phase that is run twice gives the same snapshot and a model that is as good; only the
journal (learning/job.py) says which one counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import numpy as np
import structlog
from pydantic import JsonValue

from learning.artefacts import Store
from learning.choosing import Flagged
from learning.errors import TrainingError
from learning.gate import Answers, judge, refuse_leakage
from learning.labels import Labels
from learning.records import ArtefactRef, GateResult, ModelVersion, TrainingExample, TrainingSet
from learning.training import Predictor, Recipe
from learning.trigger import refuse_unfit
from learning.weak import WeakExamples, weak_examples
from streams.errors import DescantError

TIMED = 50
"""Examples over which latency is measured."""

log = structlog.get_logger(__name__)


def snapshot(recipe: Recipe, labels: Labels, store: Store, flagged: Iterable[Flagged] = ()) -> tuple[ArtefactRef, int]:
    """Freeze the training set: the recipe's start, every agreed label, and what its weak labels say of the other
    examples, those that are `flagged` among them; without the held-out examples.

    Returns its reference and how many labels stood. Raises TrainingError for an empty or one-class set, LeakageError
    where the start shares a request or an entity with the held-out set.
    """
    held_out = tuple(recipe.held_out())
    held = {e.id for e in held_out}
    requests, entities = {e.request for e in held_out} - {None}, {e.entity for e in held_out} - {None}

    def is_ours(example: TrainingExample | Flagged) -> bool:
        return example.id not in held and example.request not in requests and example.entity not in entities

    labelled = labels.training_set(recipe.name, without=held)
    # A label may be asked for what the gate holds: it then serves the gate's side alone, instead of stopping the job.
    ours = tuple(filter(is_ours, labelled.examples))
    start = tuple(e for e in recipe.start() if e.id not in {o.id for o in ours})
    weak = WeakExamples((), (), 0)
    if recipe.weak is not None:
        found = filter(is_ours, (*recipe.weak.examples(), *flagged))
        weak = weak_examples(
            recipe.weak, found, recipe.classes, ours, {*labelled.disagreements, *(e.id for e in start)}
        )
        _tell(recipe, weak)
    examples = labelled.model_copy(
        update={"examples": (*start, *ours, *weak.examples), "conflicts": tuple(c.example for c in weak.conflicts)}
    )
    refuse_unfit(recipe.trigger, examples)
    refuse_leakage(examples.examples, held_out)
    return store.put(recipe.name, examples.encoded(), format="json"), labels.count(recipe.name)


def _tell(recipe: Recipe, weak: WeakExamples) -> None:
    log.info(
        "weak labels", model=recipe.name, examples=len(weak.examples), conflicts=len(weak.conflicts),
        doubtful=weak.doubtful, rules={name: f"{t.right} of {t.judged} right" for name, t in weak.trusted.items()},
    )  # fmt: skip


def train(recipe: Recipe, snapshot: ArtefactRef, current: ModelVersion | None, store: Store) -> ArtefactRef:
    """Fit on exactly the snapshot. Raises TrainingError for whatever the trainer raised; the current version
    stays."""
    examples = TrainingSet.read(store.get(snapshot))
    before = None if current is None else store.get(current.artefact)
    try:
        content = recipe.trainer.fit(examples.examples, recipe.classes, before)
    except DescantError:
        raise
    except Exception as error:
        # The text of a foreign exception may quote an example, so only its type is told.
        raise TrainingError(
            f"the trainer of {recipe.name!r} crashed with {type(error).__name__}. The current version stays; see the "
            "job's log, then: descant retrain.",
            code="learning.training.crashed",
        ) from error
    return store.put(recipe.name, content, format=recipe.trainer.format)


def gate(
    recipe: Recipe, artefact: ArtefactRef, current: ModelVersion | None, store: Store, traffic: Sequence[JsonValue] = ()
) -> GateResult:
    """Judge the stored candidate against the stored current version, both on the held-out examples and on recorded
    traffic; the same inputs give the same verdict."""
    held_out = tuple(recipe.held_out())
    truth = [e.value for e in held_out]
    replay = [*recipe.replay(), *traffic]
    candidate = _answers(recipe, recipe.trainer.load(store.get(artefact)), replay)
    before = None if current is None else _answers(recipe, recipe.trainer.load(store.get(current.artefact)), replay)
    return judge(recipe.gate, truth, candidate, before, np.random.default_rng(0))


def _answers(recipe: Recipe, model: Predictor, replay: Sequence[JsonValue]) -> Answers:
    said = model.predict(replay)
    firings = {
        name: sum(fires(e, p) > 0 for e, p in zip(replay, said, strict=True)) / max(1, len(replay))
        for name, fires in recipe.assertions.items()
    }
    examples = [e.example for e in recipe.held_out()]
    return Answers(model.predict(examples), firings, _latency_ms(model, (examples or replay)[:TIMED]))


def _latency_ms(model: Predictor, examples: Sequence[object]) -> float | None:
    taken = []
    for example in examples:
        begun = time.perf_counter()
        model.predict([example])  # type: ignore[list-item]
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken) * 1000) if taken else None
