"""Training, artefacts and the phases of a job, without Kafka."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline

from learning import phases
from learning.artefacts import FolderStore
from learning.choosing import Flagged
from learning.command import CommandTrainer
from learning.errors import ArtefactError, LeakageError, TrainingError
from learning.labels import Labels
from learning.records import (
    ArtefactRef,
    GateResult,
    Interval,
    JobRecord,
    Label,
    LabelRequest,
    ModelVersion,
    Phase,
    Record,
    TrainingExample,
    TrainingSet,
    Verdict,
    VersionState,
)
from learning.training import Recipe, SklearnTrainer
from learning.versions import current_of, promoted, rolled_back, versions
from learning.weak import WeakLabels

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def examples(count: int = 40) -> list[TrainingExample]:
    return [
        TrainingExample(id=str(i), example={"x": i / count}, value="high" if i >= count / 2 else "low", request=f"r{i}")
        for i in range(count)
    ]


class Doubled(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Somebody's own step of a pipeline."""

    def fit(self, X: object, y: object = None) -> Doubled:  # noqa: N803
        return self

    def transform(self, X: object) -> object:  # noqa: N803
        return np.asarray(X) * 2


def number(example: object) -> list[float]:
    return [example["x"]]  # type: ignore[index]


class TestSklearn:
    def test_a_fit_survives_the_way_through_bytes(self) -> None:
        trainer = SklearnTrainer(LogisticRegression(C=100.0), number)
        model = trainer.load(trainer.fit(examples(), ("low", "high"), None))
        assert model.predict([{"x": 0.0}, {"x": 1.0}]) == ["low", "high"]
        shares = model.probabilities([{"x": 0.0}])
        assert shares is not None
        assert shares["low"][0] + shares["high"][0] == pytest.approx(1)
        assert model.predict([]) == []

    def test_texts_and_weights_through_a_pipeline(self) -> None:
        trainer = SklearnTrainer(make_pipeline(TfidfVectorizer(), LogisticRegression()), str)
        rows = [TrainingExample(id=str(i), example=t, value=v, weight=w) for i, (t, v, w) in enumerate(
            [("good film", "pos", 1.0), ("bad film", "neg", 1.0), ("good film", "neg", 0.01)]
        )]  # fmt: skip
        assert trainer.load(trainer.fit(rows, ("pos", "neg"), None)).predict(["good"]) == ["pos"]

    def test_partial_fit_goes_on_from_the_current_version(self) -> None:
        trainer = SklearnTrainer(SGDClassifier(random_state=0, loss="log_loss"), number, mode="partial")
        first = trainer.fit(examples(), ("low", "high"), None)
        second = trainer.fit(examples(), ("low", "high"), first)
        assert first != second
        assert trainer.load(second).predict([{"x": 1.0}]) == ["high"]

    def test_one_class_is_refused(self) -> None:
        with pytest.raises(TrainingError):
            SklearnTrainer(LogisticRegression(), number).fit(examples()[:5], ("low", "high"), None)

    def test_a_type_that_nobody_trusted_is_not_loaded(self) -> None:
        ours = make_pipeline(Doubled(), LogisticRegression())
        content = SklearnTrainer(ours, number).fit(examples(), ("low", "high"), None)
        with pytest.raises(ArtefactError) as caught:
            SklearnTrainer(ours, number).load(content)
        assert caught.value.code == "learning.artefact.untrusted"
        name = f"{Doubled.__module__}.Doubled"
        assert name in str(caught.value)
        trusting = SklearnTrainer(ours, number, trusted=(name,))
        assert trusting.load(content).predict([{"x": 1.0}]) == ["high"]


class TestCommand:
    TRAIN = (
        "import json; rows = [json.loads(line) for line in open('examples.jsonl')]; "
        "open('artefact', 'w').write(rows[0]['value'])"
    )
    PREDICT = (
        "import json; c = open('artefact').read(); "
        "open('predictions.jsonl', 'w').writelines(json.dumps(c) + chr(10) for _ in open('examples.jsonl'))"
    )

    def test_a_command_trains_and_predicts(self) -> None:
        trainer = CommandTrainer((sys.executable, "-c", self.TRAIN), (sys.executable, "-c", self.PREDICT))
        model = trainer.load(trainer.fit(examples(), ("low", "high"), None))
        assert model.predict([{"x": 1}, {"x": 2}]) == ["low", "low"]

    @pytest.mark.parametrize("code", ["import sys; sys.exit('no gpu')", "pass"])
    def test_a_command_that_fails_is_told(self, code: str) -> None:
        trainer = CommandTrainer((sys.executable, "-c", code), ())
        with pytest.raises(TrainingError, match=r"no gpu|wrote no"):
            trainer.fit(examples(), ("low", "high"), None)

    def test_a_command_that_hangs_is_ended(self) -> None:
        trainer = CommandTrainer((sys.executable, "-c", "import time; time.sleep(60)"), (), seconds_max=0.5)
        with pytest.raises(TrainingError, match="did not finish"):
            trainer.fit(examples(), ("low", "high"), None)


def recipe(**more: object) -> Recipe:
    given = {
        "name": "m", "classes": ("low", "high"), "trainer": SklearnTrainer(LogisticRegression(C=100.0), number),
        "held_out": lambda: [e.model_copy(update={"id": f"h{e.id}", "request": f"h{e.id}"}) for e in examples(100)],
        "replay": lambda: [{"x": i / 10} for i in range(10)],
        "assertions": {"half": lambda e, p: float((p == "high") != (e["x"] > 0.5))}, **more,
    }  # fmt: skip
    return Recipe(**given)  # type: ignore[arg-type]


def labelled(count: int = 20) -> Labels:
    state = Labels()
    for e in examples(count):
        state.ask(
            LabelRequest(
                id=e.id, model="m", example=e.example, classes=("low", "high"), request=e.request, requested_at=NOON
            )
        )
        state.say(Label(id=f"l{e.id}", example=e.id, model="m", labeller="ann", value=e.value, labelled_at=NOON))
    return state


class TestPhases:
    def test_from_labels_to_a_verdict(self, tmp_path: Path) -> None:
        store = FolderStore(tmp_path)
        reference, count = phases.snapshot(recipe(), labelled(), store)
        assert count == 20
        assert phases.snapshot(recipe(), labelled(), store)[0] == reference, "the same labels are the same snapshot"
        artefact = phases.train(recipe(), reference, None, store)
        result = phases.gate(recipe(), artefact, None, store)
        assert result.verdict is Verdict.PROMOTE
        assert result.accuracy.value > 0.9
        again = phases.gate(recipe(), artefact, None, store)
        assert again.model_copy(update={"latency_ms": 0}) == result.model_copy(update={"latency_ms": 0})

    def test_labels_of_held_out_requests_never_reach_a_snapshot(self, tmp_path: Path) -> None:
        held = recipe(held_out=lambda: [e.model_copy(update={"id": f"h{e.id}"}) for e in examples(20)[5:15]])
        reference, _ = phases.snapshot(held, labelled(), FolderStore(tmp_path))
        rows = json.loads(FolderStore(tmp_path).get(reference))["examples"]
        assert {row["request"] for row in rows} == {f"r{i}" for i in (*range(5), *range(15, 20))}

    def test_what_flags_propose_joins_people_and_never_what_the_gate_holds(self, tmp_path: Path) -> None:
        held = examples(40)[35:]
        weak = recipe(held_out=lambda: [e.model_copy(update={"id": f"h{e.id}"}) for e in held], weak=WeakLabels())
        flagged = [
            Flagged(e.id, e.example, flags=(f"f{e.id}",), request=e.request, proposals={"odd": e.value})
            for e in (*examples(20), *examples(40)[20:])
        ]
        store = FolderStore(tmp_path)
        people = labelled(20)
        reference, count = phases.snapshot(weak, people, store, flagged)
        made = TrainingSet.read(store.get(reference))
        assert count == 20
        assert {e.id for e in made.examples if e.rules} == {str(i) for i in range(20, 35)}
        assert {e.id for e in made.examples if e.labels} == {str(i) for i in range(20)}
        people.say(Label(id="b", example="3", model="m", labeller="bob", value="high", labelled_at=NOON))
        again = TrainingSet.read(store.get(phases.snapshot(weak, people, store, flagged)[0]))
        assert again.disagreements == ("3",)
        assert "3" not in {e.id for e in again.examples}, "where people disagree, no rule decides"

    @pytest.mark.parametrize(
        ("said", "code"), [([], "learning.training.empty"), (["low", "low"], "learning.training.one-class")]
    )
    def test_flags_alone_are_no_reason_to_fit_nothing_or_one_class(
        self, tmp_path: Path, said: list[str], code: str
    ) -> None:
        flagged = [Flagged(str(i), {"x": 0.1}, proposals={"odd": value}) for i, value in enumerate(said)]
        with pytest.raises(TrainingError) as caught:
            phases.snapshot(recipe(weak=WeakLabels()), Labels(), FolderStore(tmp_path), flagged)
        assert caught.value.code == code

    def test_a_start_that_leaks_is_refused(self, tmp_path: Path) -> None:
        leaking = recipe(start=examples, held_out=lambda: examples()[:5])
        with pytest.raises(LeakageError):
            phases.snapshot(leaking, Labels(), FolderStore(tmp_path))


def version(number: int, state: VersionState, parent: int | None = None) -> ModelVersion:
    ref = ArtefactRef(uri="m/x", sha256="a" * 64, size_bytes=1)
    gate = GateResult(verdict=Verdict.PROMOTE, reasons=(), accuracy=Interval(value=1, low=1, high=1, n=9))
    return ModelVersion(
        name="m", version=number, state=state, artefact=ref, training_set=ref, training_set_digest="b" * 64, labels=1,
        gate=gate, parent=parent, job=f"j{number}", created_at=NOON,
    )  # fmt: skip


def only(records: Sequence[Record]) -> list[ModelVersion]:
    """All of them, of the type that they have where nobody tries a canary."""
    found = [record for record in records if isinstance(record, ModelVersion)]
    assert len(found) == len(records)
    return found


class TestVersions:
    def test_promotion_retires_and_rollback_restores(self) -> None:
        known = [version(1, VersionState.CURRENT), version(2, VersionState.HELD, parent=1)]
        after = only(promoted(known, 2))
        assert [(v.version, v.state.value) for v in after] == [(1, "retired"), (2, "current")]
        assert promoted(after, 2) == []
        back = only(rolled_back(after))
        assert [(v.version, v.state.value) for v in back] == [(2, "rolled-back"), (1, "current")]
        with pytest.raises(TrainingError):
            rolled_back(back)
        with pytest.raises(TrainingError):
            promoted(known, 7)

    @pytest.mark.parametrize(
        ("verdict", "state", "records"),
        [(Verdict.PROMOTE, "current", 2), (Verdict.ASK, "candidate", 1), (Verdict.HOLD, "held", 1)],
    )
    def test_a_job_publishes_once(self, tmp_path: Path, verdict: Verdict, state: str, records: int) -> None:
        store = FolderStore(tmp_path)
        reference, _ = phases.snapshot(recipe(), labelled(), store)
        gate = version(1, VersionState.CURRENT).gate.model_copy(update={"verdict": verdict})
        job = JobRecord(
            model="m", job="j", phase=Phase.GATED, at=NOON, snapshot=reference, artefact=reference, gate=gate
        )
        known = [version(1, VersionState.CURRENT)]
        written = only(versions(job, known, NOON, store))
        assert len(written) == records
        assert (written[-1].version, written[-1].state.value, written[-1].parent) == (2, state, 1)
        assert versions(job, [*known, written[-1]], NOON, store) == []
        kept = {v.version: v for v in (*known, *written)}
        current = current_of(list(kept.values()))
        assert current is not None
        assert current.version == (2 if verdict is Verdict.PROMOTE else 1)
