"""Which version of a model is current, and the records that change it. Pure: known versions in, records out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from learning.artefacts import Store
from learning.errors import TrainingError
from learning.records import JobRecord, ModelVersion, Phase, TrainingSet, Verdict, VersionState


def versions(job: JobRecord, known: Sequence[ModelVersion], now: datetime, store: Store) -> list[ModelVersion]:
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
        gate=job.gate,
        parent=None if current is None else current.version,
        job=job.job,
        created_at=now,
    )
    return retiring(current, new) if state is VersionState.CURRENT else [new]


def promoted(known: Sequence[ModelVersion], version: int) -> list[ModelVersion]:
    """The records that make a version current by a person's word. Raises TrainingError where it is not there."""
    current = current_of(known)
    chosen = next((v for v in known if v.version == version), None)
    if chosen is None:
        raise TrainingError(
            f"there is no version {version}. `descant models list` shows them.", code="learning.models.unknown"
        )
    if current is not None and current.version == version:
        return []
    return retiring(current, chosen.model_copy(update={"state": VersionState.CURRENT}))


def rolled_back(known: Sequence[ModelVersion]) -> list[ModelVersion]:
    """The records that put the current version's parent back. Raises TrainingError where it has none."""
    current = current_of(known)
    before = next((v for v in known if current is not None and v.version == current.parent), None)
    if current is None or before is None:
        raise TrainingError("there is no earlier version to go back to.", code="learning.models.no-parent")
    return [
        current.model_copy(update={"state": VersionState.ROLLED_BACK}),
        before.model_copy(update={"state": VersionState.CURRENT}),
    ]


def retiring(current: ModelVersion | None, new: ModelVersion) -> list[ModelVersion]:
    retired = [] if current is None else [current.model_copy(update={"state": VersionState.RETIRED})]
    return [*retired, new]


def current_of(known: Sequence[ModelVersion]) -> ModelVersion | None:
    return next((v for v in known if v.state is VersionState.CURRENT), None)
