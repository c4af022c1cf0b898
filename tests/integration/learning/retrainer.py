"""A retraining process for tests: one small model, and a place where it kills itself."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import confluent_kafka
from pydantic import JsonValue
from sklearn.linear_model import LogisticRegression

from learning.artefacts import FolderStore
from learning.choosing import Choosing, Flagged
from learning.errors import StoreError
from learning.records import Phase, TrainingExample
from learning.training import Recipe, SklearnTrainer
from learning.trigger import TriggerPolicy
from learning.weak import WeakLabels
from streams.settings import KafkaSettings

CLASSES = ("low", "high")


def features(example: JsonValue) -> list[float]:
    assert isinstance(example, dict)
    return [float(example["x"])]  # type: ignore[arg-type]


def truth(x: float) -> str:
    return "high" if x > 0.5 else "low"


def held_out() -> Sequence[TrainingExample]:
    return [
        TrainingExample(id=f"held-{i}", example={"x": i / 100}, value=truth(i / 100), request=f"held-{i}")
        for i in range(100)
    ]


def of_flag(model: str, flag: Mapping[str, Any]) -> Flagged | None:
    said = flag["data"]["example"]["verdict"]
    if said.get("model") != model:
        return None  # other tests flag on the same Kafka
    changes = flag["data"].get("correction", {}).get("changes", {})
    return Flagged(
        said["name"], {"x": said["x"]}, predicted="low", uncertainty=0.5, request=flag["subject"],
        proposed=changes.get("label"),
    )  # fmt: skip


class Broken:
    """A trainer that crashes."""

    format = "skops"

    def fit(self, examples: Sequence[TrainingExample], classes: Sequence[str], current: bytes | None) -> bytes:
        raise RuntimeError("a secret payload")

    def load(self, artefact: bytes) -> object:
        raise NotImplementedError


class Unreadable(Broken):
    """A trainer whose models nobody can load."""

    def fit(self, examples: Sequence[TrainingExample], classes: Sequence[str], current: bytes | None) -> bytes:
        return b"no model at all"

    def load(self, artefact: bytes) -> object:
        raise ValueError("a secret payload")


TRAINERS = {"fit": Broken, "load": Unreadable}


def recipe(
    name: str, *, new_labels: int = 10, new_flags: int | None = None, weak: bool = False, broken: str | None = None
) -> Recipe:
    trainer = SklearnTrainer(LogisticRegression(C=100.0), features) if broken is None else TRAINERS[broken]()
    return Recipe(
        name, CLASSES, trainer,  # type: ignore[arg-type]
        held_out=held_out, replay=lambda: [{"x": i / 50} for i in range(50)],
        assertions={"high-is-above-half": lambda e, p: float((p == "high") != (features(e)[0] > 0.5))},
        choosing=Choosing(lambda flag: of_flag(name, flag)), weak=WeakLabels() if weak else None,
        trigger=TriggerPolicy(new_labels=new_labels, new_flags=new_flags, cool_down_seconds=0.0),
    )  # fmt: skip


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--new-labels", type=int, default=10)
    parser.add_argument("--new-flags", type=int)
    parser.add_argument("--weak", action="store_true")
    parser.add_argument("--broken", choices=TRAINERS)
    parser.add_argument("--away", type=int, default=0, help="so many calls of the store fail first")
    parser.add_argument("--die", help="PHASE:begins, PHASE:done, PHASE:stored or PHASE:uncommitted")
    options = parser.parse_args()
    phase, _, moment = (options.die or ":").partition(":")
    at = {"phase": None}

    class Dying(confluent_kafka.Producer):
        """Dies when everything of a step is on the broker and only the commit is missing."""

        def commit_transaction(self, *arguments: Any) -> None:
            if moment == "uncommitted" and at["phase"] == phase:
                self.flush(10)
                die()
            super().commit_transaction(*arguments)

    class DyingStore(FolderStore):
        def put(self, *arguments, **named):  # type: ignore[no-untyped-def]
            if options.away:
                options.away -= 1
                raise StoreError("the store is away", code="learning.artefact.unreachable")
            ref = super().put(*arguments, **named)
            if moment == "stored" and at["phase"] == phase:
                die()
            return ref

    from learning import job as retraining
    from learning import journal

    retraining.STORE_SECONDS = 0.1  # type: ignore[misc]
    journal.Producer = Dying  # type: ignore[attr-defined]
    from learning.job import RetrainingJob

    def watch(model: str, now: Phase, word: str) -> None:
        at["phase"] = now.value  # type: ignore[assignment]
        sys.stdout.write(f"{now.value} {word}\n")
        sys.stdout.flush()
        if now.value == phase and word == moment:
            die()

    made = recipe(
        options.model, new_labels=options.new_labels, new_flags=options.new_flags, weak=options.weak,
        broken=options.broken,
    )  # fmt: skip
    job = RetrainingJob(
        [made], DyingStore(options.store), KafkaSettings(bootstrap=options.bootstrap), watch=watch, group=options.group
    )
    signal.signal(signal.SIGTERM, lambda *_: job.stop())
    job.run()


if __name__ == "__main__":
    main()
    sys.exit(0)
