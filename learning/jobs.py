"""What retraining came to, as a sentence for whoever waits for it."""

from __future__ import annotations

from typing import Final

from learning.records import JobRecord, Phase
from learning.view import Learned

_TOLD: Final = {
    Phase.ASKED: "asked for; a process of `descant learn run` begins with it",
    Phase.SNAPSHOT: "under way: the training set is taken, the training runs",
    Phase.TRAINED: "under way: trained, the gate judges",
    Phase.GATED: "under way: judged, about to be published",
    Phase.PUBLISHED: "a version came of it; `descant models list` shows what the gate said",
    Phase.FAILED: "failed",
}


def newest_jobs(learned: Learned) -> list[JobRecord]:
    """One a model: what was asked for and waits comes before what was done."""
    return [job for _, job in sorted((learned.jobs | learned.asked).items())]


def told_of(job: JobRecord) -> str:
    reason = f": {job.reason}" if job.phase is Phase.FAILED else ""
    return f"{job.at:%F %T}  {_TOLD[job.phase]}{reason}"
