"""Which version of a model is current, and the records that change it. Pure: known versions in, records out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from learning.artefacts import Store
from learning.errors import TrainingError
from learning.records import Canary, JobRecord, ModelVersion, Phase, Record, TrainingSet, Verdict, VersionState


def versions(job: JobRecord, known: Sequence[ModelVersion], now: datetime, store: Store) -> list[Record]:
    """The records that publish a gated job: the new version and, where it is promoted, the retired one. None where
    the job has published already."""
    assert job.phase is Phase.GATED and job.snapshot and job.artefact and job.gate  # noqa: S101, PT018 the journal's order
    if any(v.job == job.job for v in known):
        return []
    current = current_of(known)
    examples = TrainingSet.read(store.get(job.snapshot))
    state = {
        Verdict.PROMOTE: VersionState.CURRENT,
        Verdict.ASK: VersionState.CANDIDATE,
        Verdict.HOLD: VersionState.HELD,
    }[job.gate.verdict]
    new = ModelVersion(
        name=job.model,
        version=max((v.version for v in known), default=0) + 1,
        state=state,
        artefact=job.artefact,
        training_set=job.snapshot,
        training_set_digest=examples.digest,
        labels=sum(len(e.labels) for e in examples.examples),
        weak=sum(bool(e.rules) for e in examples.examples),
        conflicts=len(examples.conflicts),
        gate=job.gate,
        parent=None if current is None else current.version,
        job=job.job,
        created_at=now,
    )
    return retiring(known, new) if state is VersionState.CURRENT else [new]


def promoted(known: Sequence[ModelVersion], version: int) -> list[Record]:
    """The records that make a version current by a person's word. Raises TrainingError where it is not there."""
    chosen = _version(known, version)
    if chosen.state is VersionState.CURRENT:
        return []
    return retiring(known, chosen.model_copy(update={"state": VersionState.CURRENT, "share": None}))


def rolled_back(known: Sequence[ModelVersion]) -> list[Record]:
    """The records that put the current version's parent back. Raises TrainingError where it has none."""
    current = current_of(known)
    before = next((v for v in known if current is not None and v.version == current.parent), None)
    if current is None or before is None:
        raise TrainingError("there is no earlier version to go back to.", code="learning.models.no-parent")
    return [
        current.model_copy(update={"state": VersionState.ROLLED_BACK}),
        before.model_copy(update={"state": VersionState.CURRENT}),
    ]


def tried(known: Sequence[ModelVersion], version: int, share: float) -> list[Record]:
    """The records that give a version a share of the traffic; another canary steps down. Raises TrainingError."""
    chosen, current = _version(known, version), current_of(known)
    if current is None or chosen.version == current.version:
        raise TrainingError(
            "a canary runs beside the current version. Promote a first version, or try another than the current one.",
            code="learning.models.canary",
        )
    if not 0 < share < 1:
        raise TrainingError(f"a share is between 0 and 1, not {share:g}.", code="learning.models.canary")
    new = chosen.model_copy(update={"state": VersionState.CANARY, "share": share})
    others = [v for v in _stepped_down(known) if v.version != version]
    return [*others, new, Canary(model=new.name, version=new)]


def trial_ended(known: Sequence[ModelVersion]) -> list[Record]:
    """The records that take its share from the canary. Raises TrainingError where there is none."""
    down = _stepped_down(known)
    if not down:
        raise TrainingError("no version takes a share of the traffic.", code="learning.models.canary")
    return [*down, Canary(model=down[0].name, version=None)]


def retiring(known: Sequence[ModelVersion], new: ModelVersion) -> list[Record]:
    """A version becomes current: the one before retires, and whatever was tried beside it is over."""
    current = current_of(known)
    retired = [] if current is None else [current.model_copy(update={"state": VersionState.RETIRED})]
    down = _stepped_down(known)
    over = [Canary(model=new.name, version=None)] if down else []
    return [*retired, *(v for v in down if v.version != new.version), new, *over]


def _stepped_down(known: Sequence[ModelVersion]) -> list[ModelVersion]:
    return [
        v.model_copy(update={"state": VersionState.CANDIDATE, "share": None})
        for v in known
        if v.state is VersionState.CANARY
    ]


def _version(known: Sequence[ModelVersion], version: int) -> ModelVersion:
    chosen = next((v for v in known if v.version == version), None)
    if chosen is None:
        raise TrainingError(
            f"there is no version {version}. `descant models list` shows them.", code="learning.models.unknown"
        )
    return chosen


def current_of(known: Sequence[ModelVersion]) -> ModelVersion | None:
    return next((v for v in known if v.state is VersionState.CURRENT), None)
