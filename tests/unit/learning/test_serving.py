"""Which version serves, which is tried beside it, and what the assertions were worth."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from learning.errors import TrainingError
from learning.following import Serving
from learning.records import (
    MODELS,
    ArtefactRef,
    Canary,
    GateResult,
    Interval,
    Label,
    LabelRequest,
    ModelVersion,
    Record,
    Verdict,
    VersionState,
    also_under,
)
from learning.versions import promoted, rolled_back, trial_ended, tried
from learning.view import Learned
from learning.worth import worth

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REF = ArtefactRef(uri="m/x", sha256="0" * 64, size_bytes=1)


def version(number: int, state: VersionState, firings: dict[str, tuple[float, float]] | None = None) -> ModelVersion:
    gate = GateResult(
        verdict=Verdict.PROMOTE, reasons=("a test",), accuracy=Interval(value=0.5, low=0, high=1, n=9),
        firings=firings or {},
    )  # fmt: skip
    return ModelVersion(
        name="m", version=number, state=state, artefact=REF, training_set=REF, training_set_digest="0" * 64, labels=1,
        gate=gate, parent=number - 1 or None, job=str(number), created_at=NOON,
    )  # fmt: skip


class Models:
    """Records written and folded, as a topic would hold them."""

    def __init__(self, *versions: ModelVersion) -> None:
        self.learned = Learned()
        self.canary: ModelVersion | None = None
        self.write(list(versions))

    def write(self, records: list[Record]) -> None:
        for record in records:
            for key, value in [(record.key, record.encoded()), *also_under(record)]:
                self.learned.fold(MODELS, key.encode(), value)
            if isinstance(record, Canary):
                self.canary = record.version
        assert not self.learned.refused

    @property
    def known(self) -> list[ModelVersion]:
        return list(self.learned.known("m"))

    @property
    def states(self) -> list[str]:
        return [v.state.value for v in self.known]


def test_a_canary_takes_its_share_until_it_is_promoted() -> None:
    models = Models(version(1, VersionState.CURRENT), version(2, VersionState.CANDIDATE))
    models.write(tried(models.known, 2, 0.25))
    assert models.states == ["current", "canary"]
    assert (models.canary.version, models.canary.share) == (2, 0.25)  # type: ignore[union-attr]
    models.write(promoted(models.known, 2))
    assert models.states == ["retired", "current"]
    assert models.canary is None
    models.write(rolled_back(models.known))
    assert models.states == ["current", "rolled-back"]


def test_one_canary_at_a_time_and_it_can_be_ended() -> None:
    models = Models(version(1, VersionState.CURRENT), version(2, VersionState.HELD), version(3, VersionState.CANDIDATE))
    models.write(tried(models.known, 2, 0.1))
    models.write(tried(models.known, 3, 0.5))
    assert models.states == ["current", "candidate", "canary"]
    models.write(trial_ended(models.known))
    assert models.states == ["current", "candidate", "candidate"]
    assert models.canary is None


def test_promoting_another_ends_the_canary() -> None:
    models = Models(version(1, VersionState.CURRENT), version(2, VersionState.HELD), version(3, VersionState.CANDIDATE))
    models.write(tried(models.known, 2, 0.1))
    models.write(promoted(models.known, 3))
    assert models.states == ["retired", "candidate", "current"]
    assert models.canary is None


@pytest.mark.parametrize(("number", "share"), [(1, 0.1), (9, 0.1), (2, 0.0), (2, 1.0)])
def test_a_trial_that_makes_no_sense_is_refused(number: int, share: float) -> None:
    known = [version(1, VersionState.CURRENT), version(2, VersionState.CANDIDATE)]
    with pytest.raises(TrainingError):
        tried(known, number, share)
    with pytest.raises(TrainingError):
        trial_ended(known)


def test_a_share_of_keys_gets_the_canary_and_each_always_the_same() -> None:
    serving = Serving("old", 1, "new", 2, 0.25)
    said = [serving.of(f"claim {i}") for i in range(2_000)]
    assert 0.2 < said.count("new") / len(said) < 0.3
    assert said == [serving.of(f"claim {i}") for i in range(2_000)]
    assert {Serving("old", 1).of(f"{i}") for i in range(50)} == {"old"}


def test_an_assertion_s_worth_is_its_precision_and_its_reduction() -> None:
    models = Models(version(1, VersionState.CURRENT, {"odd": (0.4, 0.1), "quiet": (0.0, 0.0)}))
    labels = models.learned.labels
    for i in range(4):
        labels.ask(
            LabelRequest(id=f"e{i}", model="m", example=None, classes=("x", "y"), predicted="x",
                         severities={"odd": 1.0, **({"new": 2.0} if i == 0 else {})}, requested_at=NOON)
        )  # fmt: skip
        labels.say(
            Label(id=f"l{i}", example=f"e{i}", model="m", labeller="ann", value="xy"[i < 3], labelled_at=NOON)
        )  # fmt: skip
    found = {w.assertion: w for w in worth(models.learned)}
    assert set(found) == {"new", "odd", "quiet"}
    odd = found["odd"]
    assert odd.precision is not None
    assert (odd.precision.value, odd.precision.n, odd.fired, odd.fires) == (0.75, 4, 0.4, 0.1)
    assert odd.reduction == pytest.approx(0.75)
    assert (found["quiet"].precision, found["quiet"].reduction) == (None, None)
    assert (found["new"].fires, found["new"].reduction) == (None, None)
