"""The retraining job: labels in, a gated version out; one job a model at a time across all processes.

    ASKED or due → SNAPSHOT → TRAINED → GATED → PUBLISHED, or FAILED

After each phase its result is in the store and its record in the journal, in that order. A process that dies between
the two leaves bytes that nothing names; its successor repeats that phase. Publishing and the journal's last record
are one transaction, so that a version is there once or not at all. A store that cannot be reached is waited for.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog
from confluent_kafka import KafkaException

from learning import gauges, phases
from learning.artefacts import Store
from learning.errors import StoreError, TrainingError
from learning.journal import RETRAINING
from learning.member import Member
from learning.records import JOBS, JobRecord, ModelVersion, Phase, Record, Verdict
from learning.replay import recent
from learning.standing import StandingFlags
from learning.training import Recipe
from learning.trigger import Due, Seen, due
from learning.versions import current_of, versions
from learning.view import View, topics
from streams import metrics
from streams.errors import BrokerError, DescantError
from streams.runtime.places import places_of
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings

POLL_SECONDS: Final = 0.1
MEASURE_SECONDS: Final = 1.0
"""Between two looks at the labels for the metrics: each walks all of them."""

STORE_SECONDS: Final = 5.0
STORE_SECONDS_MAX: Final = 300.0
"""Until a phase that the store failed is done again: twice as long each time, since it may be a training of hours."""
STORE_TRIES_MAX: Final = 8
"""Some ten minutes; then the job has failed, and what it says is what the store said."""

OPEN: Final = (Phase.SNAPSHOT, Phase.TRAINED, Phase.GATED)

Watch = Callable[[str, Phase, str], None]
"""(model, phase, "begins" or "done" or why it failed): for progress lines."""

_Result = Future[tuple[JobRecord, Sequence[Record]]]

log = structlog.get_logger(__name__)


@dataclass
class _Step:
    """One phase under way on the worker thread."""

    recipe: Recipe
    phase: Phase
    job: JobRecord
    """As it was when the phase began."""
    result: _Result


@dataclass
class _Patience:
    """With the store, over one phase of one model."""

    tries: int = 0
    ask_at: float = 0.0
    """Seconds, monotonic."""


def next_phase(recipe: Recipe, view: View, flags: int | None, now: float) -> tuple[Phase, Due] | None:
    """What the owner of a model does next: go on with an open job, start one that is due, or nothing. Pure of Kafka:
    it reads the fold.

    flags   that came to stand since the last snapshot; None: nobody knows yet, and no job starts before
    """
    learned = view.learned
    last = learned.jobs.get(recipe.name)
    if last is not None and last.phase in OPEN:
        return {Phase.SNAPSHOT: Phase.TRAINED, Phase.TRAINED: Phase.GATED, Phase.GATED: Phase.PUBLISHED}[
            last.phase
        ], Due.NO
    if flags is None:
        return None
    seen = Seen(
        labels=learned.labels.count(recipe.name),
        labels_at_last=0 if last is None else last.labels_seen,
        last_start=None if last is None else last.at.timestamp(),
        asked=recipe.name in learned.asked,
        flags=flags,
        flags_teach=recipe.weak is not None,
    )
    why = due(recipe.trigger, seen, now)
    return None if why is Due.NO else (Phase.SNAPSHOT, why)


class RetrainingJob:
    """A member of the group `learning.retraining`. `run` returns when `stop` was called, or raises what it cannot
    survive."""

    def __init__(
        self, recipes: Sequence[Recipe], store: Store, kafka: KafkaSettings, *, watch: Watch | None = None,
        group: str = RETRAINING,
    ) -> None:  # fmt: skip
        ensure_topics(kafka, topics())
        self._recipes: Final = recipes
        self._store: Final = store
        self._kafka: Final = kafka
        self._watch: Final[Watch] = watch or (lambda model, phase, word: None)
        self._view: Final = View(kafka)
        self._flags: Final = StandingFlags(recipes, kafka)
        self._member: Final = Member(kafka, group, JOBS, self._view, on_loss=self._forget)
        self._steps: dict[str, _Step] = {}
        self._patience: Final[dict[str, _Patience]] = {}
        # One thread: two trainings at once would only slow each other down. Polling goes on beside it, so that a long
        # fit does not cost the group membership.
        self._pool: Final = ThreadPoolExecutor(1, thread_name_prefix="retraining")
        self._stopping = False
        self._measured_at = 0.0
        for recipe in recipes:
            for outcome in ("promoted", "held", "failed"):
                metrics.RETRAININGS.labels(recipe.name, outcome)

    def stop(self) -> None:
        self._stopping = True

    def run(self) -> None:
        self._member.join()
        try:
            while not self._stopping:
                self._member.poll(POLL_SECONDS)
                self._view.poll(0)
                self._flags.poll()
                self.advance()
                self._measure(time.monotonic())
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._member.close()
            self._view.close()
            self._flags.close()

    def _forget(self) -> None:
        self._steps = {model: step for model, step in self._steps.items() if self._member.owns(model)}

    def _measure(self, now: float) -> None:
        if now - self._measured_at < MEASURE_SECONDS:
            return
        self._measured_at = now
        labels = self._view.learned.labels
        for recipe in self._recipes:
            metrics.LABELS.labels(recipe.name).set(labels.count(recipe.name))
            metrics.LABELS_PENDING.labels(recipe.name).set(len(labels.pending(recipe.name)))
        gauges.show(self._view.learned, (recipe.name for recipe in self._recipes))

    def advance(self) -> None:
        """One look at each owned model: take a finished phase in, or begin the next."""
        for recipe in self._recipes:
            if not self._member.may_decide(recipe.name):
                continue
            step = self._steps.get(recipe.name)
            if step is None:
                if recipe.name in self._patience and time.monotonic() < self._patience[recipe.name].ask_at:
                    continue
                flags = self._flags.since(recipe.name, self._view.learned.jobs.get(recipe.name))
                found = next_phase(recipe, self._view, flags, time.time())
                if found is not None:
                    self._begin(recipe, *found)
            elif step.result.done():
                del self._steps[recipe.name]
                self._finish(step)

    def _begin(self, recipe: Recipe, phase: Phase, why: Due) -> None:
        self._watch(recipe.name, phase, "begins")
        learned = self._view.learned
        known = tuple(learned.known(recipe.name))
        if phase is Phase.SNAPSHOT:
            job = self._new_job(recipe, why)
            future = _settled(lambda: (self._snapshot(recipe, job), ()))
        elif phase is Phase.PUBLISHED:
            job = learned.jobs[recipe.name]
            future = _settled(lambda: self._published(job, known))
        else:
            job = learned.jobs[recipe.name]
            future = self._pool.submit(self._run_phase, recipe, job, phase, known)
        self._steps[recipe.name] = _Step(recipe, phase, job, future)

    def _new_job(self, recipe: Recipe, why: Due) -> JobRecord:
        learned = self._view.learned
        asked, last = learned.asked.get(recipe.name), learned.jobs.get(recipe.name)
        served = asked.job if asked is not None else last.served if last is not None else None
        return JobRecord(
            model=recipe.name, job=uuid.uuid4().hex if asked is None else asked.job, phase=Phase.SNAPSHOT, at=_now(),
            served=served,
            labels_seen=learned.labels.count(recipe.name), reason=why.value,
            flags_read=self._flags.read_to(recipe.name, last),
        )  # fmt: skip

    def _snapshot(self, recipe: Recipe, job: JobRecord) -> JobRecord:
        """On the polling thread: labels and flags change there while records come in."""
        try:
            flagged = self._flags.examples(recipe.name)
            reference, count = phases.snapshot(recipe, self._view.learned.labels, self._store, flagged)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 what a recipe gives may raise anything
            return _failed(job, _told(recipe, error))
        return job.model_copy(update={"snapshot": reference, "labels_seen": count})

    def _run_phase(
        self, recipe: Recipe, job: JobRecord, phase: Phase, known: Sequence[ModelVersion]
    ) -> tuple[JobRecord, Sequence[Record]]:
        current = current_of(known)
        try:
            if phase is Phase.TRAINED and job.snapshot is not None:
                update = {"artefact": phases.train(recipe, job.snapshot, current, self._store)}
                return job.model_copy(update={"phase": phase, **update}), ()
            assert job.artefact is not None  # noqa: S101 the journal's order
            traffic = () if recipe.traffic is None else recent(self._kafka, recipe.traffic)
            verdict = phases.gate(recipe, job.artefact, current, self._store, traffic)
            return job.model_copy(update={"phase": phase, "gate": verdict}), ()
        except (StoreError, KafkaException):
            raise
        except Exception as error:  # noqa: BLE001 as above: a model that cannot be loaded, an assertion that raises
            return _failed(job, _told(recipe, error)), ()

    def _published(self, job: JobRecord, known: Sequence[ModelVersion]) -> tuple[JobRecord, Sequence[Record]]:
        """On the polling thread too, so that nothing lies between the versions that it knows and the transaction."""
        try:
            records = versions(job, known, _now(), self._store)
        except StoreError:
            raise
        except DescantError as error:
            return _failed(job, error), ()
        return job.model_copy(update={"phase": Phase.PUBLISHED}), records

    def _finish(self, step: _Step) -> None:
        try:
            job, published = step.result.result()
        except StoreError as error:
            patience = self._patience.setdefault(step.recipe.name, _Patience())
            patience.tries += 1
            if patience.tries < STORE_TRIES_MAX:
                seconds = min(STORE_SECONDS_MAX, STORE_SECONDS * 2 ** (patience.tries - 1))
                patience.ask_at = time.monotonic() + seconds
                log.warning("will try again", model=step.recipe.name, phase=step.phase.value, reason=str(error),
                            wait_seconds=seconds)  # fmt: skip
                return
            job, published = _failed(step.job, error), ()
        self._patience.pop(step.recipe.name, None)
        try:
            written = self._member.write(job.model, (*published, job))
        except BrokerError as error:
            log.warning("will try again", model=job.model, reason=str(error))
            return
        if written:
            self._view.catch_up()
            if job.phase is Phase.FAILED:
                log.error("retraining failed", model=job.model, phase=step.phase.value, reason=job.reason)
            if job.phase not in OPEN:
                metrics.RETRAININGS.labels(job.model, _outcome(job)).inc()
            self._watch(job.model, job.phase, job.reason or "" if job.phase is Phase.FAILED else "done")


def _outcome(job: JobRecord) -> str:
    if job.phase is Phase.FAILED:
        return "failed"
    return "promoted" if job.gate is not None and job.gate.verdict is Verdict.PROMOTE else "held"


def _told(recipe: Recipe, error: Exception) -> DescantError:
    """An error as a sentence for the journal; where it came from is in the log, and what it was about nowhere."""
    told = error if isinstance(error, DescantError) else TrainingError(
        f"the recipe of {recipe.name!r} or the model that it made crashed with {type(error).__name__}. The current "
        "version stays; see the job's log, then: descant retrain.",
        code="learning.recipe.crashed",
    )  # fmt: skip
    log.error("a phase of retraining crashed", model=recipe.name, code=told.code, at=places_of(error))
    return told


def _failed(job: JobRecord, error: DescantError) -> JobRecord:
    return job.model_copy(update={"phase": Phase.FAILED, "reason": f"[{error.code}] {error}"})


def _settled(step: Callable[[], tuple[JobRecord, Sequence[Record]]]) -> _Result:
    """Done here and now, told as what runs beside: result or StoreError."""
    future: _Result = Future()
    try:
        future.set_result(step())
    except StoreError as error:
        future.set_exception(error)
    return future


def _now() -> datetime:
    return datetime.now(UTC)
