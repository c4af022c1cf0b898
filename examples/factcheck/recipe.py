"""How the verifier learns from what is flagged and labelled.

descant learn choose examples.factcheck.recipe:verifier    # flags of examples.factcheck.watch → label requests
descant learn run examples.factcheck.recipe:verifier       # labels → a version behind a gate
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue
from sklearn.linear_model import LogisticRegression

from examples.factcheck import watch
from examples.factcheck.features import features, row
from examples.factcheck.models import Verdict
from examples.factcheck.served import MODEL
from examples.factcheck.verifier import INVERSE_REGULARISATION, SEED_CLAIMS, Example, seed_examples
from learning.choosing import Choosing, Flagged
from learning.records import TrainingExample
from learning.replay import Traffic
from learning.training import Recipe, SklearnTrainer
from learning.trigger import TriggerPolicy

CLASSES: Final = ("refuted", "supported")
HELD_OUT_CLAIMS: Final = Path(__file__).with_name("held_out_claims.csv")
"""About countries that no verifier is ever trained on; made as the seed claims are (`examples.factcheck.train`)."""
PIPELINE: Final = "factcheck"
STAGE: Final = "verdict"


def shown(verdict: Verdict) -> JsonValue:
    """A verdict as an example: what a person needs to judge it, and what the verifier saw."""
    evidence = verdict.evidence
    assert evidence.triple is not None  # noqa: S101 it has facts
    return {
        "sentence": verdict.sentence,
        "entity": evidence.entity,
        "relation": evidence.triple.relation,
        "says": evidence.triple.object,
        "facts": list(evidence.facts[:5]),
        "features": dict(verdict.features),
    }


def seen(example: JsonValue) -> Mapping[str, float]:
    """What the verifier saw of an example."""
    assert isinstance(example, dict)  # noqa: S101 made by `shown`
    return example["features"]  # type: ignore[return-value]


def of_flag(flag: Mapping[str, Any]) -> Flagged | None:
    """The verdict that a flag is about; None for a flag on something else, and for a verdict without evidence."""
    place = flag["data"]["lineage"]
    if place["pipeline"] != PIPELINE or place["stages"] != [STAGE]:
        return None
    verdict = Verdict.model_validate(flag["data"]["example"][STAGE])
    if not verdict.features:
        return None
    version = verdict.verifier.removeprefix("v")
    return Flagged(
        id="/".join((PIPELINE, place["serial"], place["path"])),
        example=shown(verdict),
        predicted=verdict.label,
        uncertainty=2 * (1 - verdict.confidence),
        request=place["request"],
        entity=verdict.evidence.entity,
        model_version=int(version) if verdict.verifier.startswith("v") and version.isdigit() else None,
    )


def of_record(value: JsonValue) -> JsonValue | None:
    """A verdict from the stage's topic, as an example; None where there was no evidence."""
    verdict = Verdict.model_validate(value)
    return shown(verdict) if verdict.features else None


def known(path: Path, keep: Callable[[str], bool] = lambda entity: True) -> Sequence[TrainingExample]:
    """Claims whose truth is known, from a file; `keep` chooses among entities."""
    return [
        known_example(f"{path.stem}-{number}", example)
        for number, example in enumerate(seed_examples(path))
        if keep(example.evidence.entity or "")
    ]


def known_example(name: str, example: Example) -> TrainingExample:
    values = features(example.evidence, example.margin)
    return TrainingExample(
        id=name, example={"features": dict(values)}, value=CLASSES[example.true], entity=example.evidence.entity
    )


def is_examined(entity: str) -> bool:
    """Whether an entity's held-out claims are for the exam, which is what is reported of a version. The gate, which
    decides which versions there are, sees the others alone."""
    return hashlib.blake2b(entity.encode(), digest_size=1).digest()[0] % 2 == 0


def gate_claims() -> Sequence[TrainingExample]:
    return known(HELD_OUT_CLAIMS, lambda entity: not is_examined(entity))


def exam() -> Sequence[TrainingExample]:
    return known(HELD_OUT_CLAIMS, is_examined)


def checked(check: Callable[[Mapping[str, float], str], float]) -> Callable[[JsonValue, str], float]:
    return lambda example, said: check(seen(example), said)


ASSERTIONS: Final = {
    "refutes_a_match": checked(watch.refutes),
    "supports_a_difference": checked(watch.supports),
    "the_model_says_otherwise": checked(watch.disagrees),
}

verifier: Final = Recipe(
    MODEL,
    CLASSES,
    SklearnTrainer(
        LogisticRegression(C=INVERSE_REGULARISATION, max_iter=1_000), features=lambda example: row(seen(example))
    ),
    start=lambda: known(SEED_CLAIMS),
    held_out=gate_claims,
    traffic=Traffic(f"{PIPELINE}.{STAGE}", of_record),
    assertions=ASSERTIONS,
    choosing=Choosing(
        of_flag, features=lambda example: row(seen(example)), budget=16, points_min=24, quiet_seconds=600
    ),
    trigger=TriggerPolicy(new_labels=8, cool_down_seconds=5),
)
