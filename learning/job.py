"""The retraining job: labels in, a gated version out; one job a model at a time across all processes.

    ASKED or due → SNAPSHOT → TRAINED → GATED → PUBLISHED, or FAILED

After each phase its result is in the store and its record in the journal, in that order. A process that dies between
the two leaves bytes that nothing names; its successor repeats that phase. Publishing and the journal's last record
are one transaction, so that a version is there once or not at all.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog
from confluent_kafka import Consumer, TopicPartition

from learning import phases
from learning.artefacts import Store
from learning.journal import RETRAINING, FencedError, Journal
from learning.records import JOBS, JobRecord, ModelVersion, Phase, Verdict
from learning.training import Recipe
from learning.trigger import Due, Seen, due
from learning.versions import current_of, versions
from learning.view import PARTITIONS, View, topics
from streams import metrics
from streams.core.partition import partition_of
from streams.errors import BrokerError, DescantError
from streams.runtime.consumer import CONSUMER_CONFIG
from streams.runtime.places import places_of
from streams.runtime.topics import ensure_topics, set_session_timeouts
from streams.settings import KafkaSettings, PipelineSettings

POLL_SECONDS: Final = 0.1
MEASURE_SECONDS: Final = 1.0
"""Between two looks at the labels for the metrics: each walks all of them."""

OPEN: Final = (Phase.SNAPSHOT, Phase.TRAINED, Phase.GATED)

Watch = Callable[[str, Phase, str], None]
"""(model, phase, "begins" or "done" or why it failed): for progress lines."""

_Result = Future[tuple[JobRecord, Sequence[ModelVersion]]]

log = structlog.get_logger(__name__)


@dataclass
class _Step:
    """One phase under way on the worker thread."""

    recipe: Recipe
    phase: Phase
    result: _Result


@dataclass
class _Owned:
    journal: Journal
    steps: dict[str, _Step] = field(default_factory=dict)


def next_phase(recipe: Recipe, view: View, now: float) -> tuple[Phase, Due] | None:
    """What the owner of a model does next: go on with an open job, start one that is due, or nothing. Pure of Kafka:
    it reads the fold."""
    learned = view.learned
    last = learned.jobs.get(recipe.name)
    if last is not None and last.phase in OPEN:
        return {Phase.SNAPSHOT: Phase.TRAINED, Phase.TRAINED: Phase.GATED, Phase.GATED: Phase.PUBLISHED}[
            last.phase
        ], Due.NO
    seen = Seen(
        labels=learned.labels.count(recipe.name),
        labels_at_last=0 if last is None else last.labels_seen,
        last_start=None if last is None else last.at.timestamp(),
        asked=recipe.name in learned.asked,
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
        set_session_timeouts(kafka, [group], PipelineSettings())
        self._recipes: Final = recipes
        self._store: Final = store
        self._kafka: Final = kafka
        self._group: Final = group
        self._watch: Final[Watch] = watch or (lambda model, phase, word: None)
        self._view: Final = View(kafka)
        self._consumer: Final = Consumer(
            {**kafka.client(), **CONSUMER_CONFIG, "group.id": group, "auto.offset.reset": "latest"}
        )
        self._owned: Final[dict[int, _Owned]] = {}
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
        self._join()
        try:
            while not self._stopping:
                # The journal is read through the view; the group is there for ownership, and its poll keeps
                # membership.
                self._consumer.poll(POLL_SECONDS)
                self._view.poll(0)
                self.advance()
                self._measure(time.monotonic())
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._consumer.close()
            self._view.close()

    def _join(self) -> None:
        self._consumer.subscribe([JOBS], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            # In this order: the predecessor is fenced, then what it had committed is read.
            self._owned[place.partition] = _Owned(Journal(self._kafka, self._group, place.partition))
        self._view.catch_up()
        log.info("owns", partitions=sorted(self._owned))

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            self._owned.pop(place.partition, None)

    def _measure(self, now: float) -> None:
        if now - self._measured_at < MEASURE_SECONDS:
            return
        self._measured_at = now
        labels = self._view.learned.labels
        for recipe in self._recipes:
            metrics.LABELS.labels(recipe.name).set(labels.count(recipe.name))
            metrics.LABELS_PENDING.labels(recipe.name).set(len(labels.pending(recipe.name)))

    def advance(self) -> None:
        """One look at each owned model: take a finished phase in, or begin the next."""
        for recipe in self._recipes:
            owned = self._owned.get(partition_of(recipe.name.encode(), PARTITIONS))
            if owned is None:
                continue
            step = owned.steps.get(recipe.name)
            if step is None:
                found = next_phase(recipe, self._view, time.time())
                if found is not None:
                    self._begin(owned, recipe, *found)
            elif step.result.done():
                del owned.steps[recipe.name]
                self._finish(owned, step)

    def _begin(self, owned: _Owned, recipe: Recipe, phase: Phase, why: Due) -> None:
        self._watch(recipe.name, phase, "begins")
        learned = self._view.learned
        known = tuple(learned.known(recipe.name))
        if phase is Phase.SNAPSHOT:
            future = _ready(self._snapshot(recipe, why), ())
        elif phase is Phase.PUBLISHED:
            future = self._published(learned.jobs[recipe.name], known)
        else:
            future = self._pool.submit(self._run_phase, recipe, learned.jobs[recipe.name], phase, known)
        owned.steps[recipe.name] = _Step(recipe, phase, future)

    def _snapshot(self, recipe: Recipe, why: Due) -> JobRecord:
        """On the polling thread: the labels change there while records come in."""
        learned = self._view.learned
        asked = learned.asked.get(recipe.name)
        job = JobRecord(
            model=recipe.name, job=uuid.uuid4().hex if asked is None else asked.job, phase=Phase.SNAPSHOT, at=_now(),
            labels_seen=learned.labels.count(recipe.name), reason=why.value,
        )  # fmt: skip
        try:
            reference, count = phases.snapshot(recipe, learned.labels, self._store)
        except DescantError as error:
            return _failed(job, error)
        return job.model_copy(update={"snapshot": reference, "labels_seen": count})

    def _run_phase(
        self, recipe: Recipe, job: JobRecord, phase: Phase, known: Sequence[ModelVersion]
    ) -> tuple[JobRecord, Sequence[ModelVersion]]:
        current = current_of(known)
        try:
            if phase is Phase.TRAINED and job.snapshot is not None:
                update = {"artefact": phases.train(recipe, job.snapshot, current, self._store)}
                return job.model_copy(update={"phase": phase, **update}), ()
            assert job.artefact is not None  # noqa: S101 the journal's order
            verdict = phases.gate(recipe, job.artefact, current, self._store)
            return job.model_copy(update={"phase": phase, "gate": verdict}), ()
        except DescantError as error:
            log.error("retraining failed", model=recipe.name, phase=phase.value, code=error.code, at=places_of(error))
            return _failed(job, error), ()

    def _published(self, job: JobRecord, known: Sequence[ModelVersion]) -> _Result:
        """On the polling thread too, so that nothing lies between the versions that it knows and the transaction."""
        try:
            records = versions(job, known, _now(), self._store)
        except DescantError as error:
            return _ready(_failed(job, error), ())
        return _ready(job.model_copy(update={"phase": Phase.PUBLISHED}), records)

    def _finish(self, owned: _Owned, step: _Step) -> None:
        job, published = step.result.result()
        place = TopicPartition(JOBS, partition_of(job.model.encode(), PARTITIONS))
        offset = max(0, int(self._consumer.position([place])[0].offset))
        try:
            owned.journal.write(job, published, offset, self._consumer.consumer_group_metadata())
        except FencedError as error:
            log.warning("another process owns this model now", model=job.model, reason=str(error))
            # Leave and join anew: whatever this member believes that it owns, the coordinator says it again.
            self._owned.clear()
            self._consumer.unsubscribe()
            self._join()
            return
        except BrokerError as error:
            log.warning("will try again", model=job.model, reason=str(error))
            return
        self._view.catch_up()
        if job.phase not in OPEN:
            metrics.RETRAININGS.labels(job.model, _outcome(job)).inc()
        self._watch(job.model, job.phase, job.reason or "" if job.phase is Phase.FAILED else "done")


def _outcome(job: JobRecord) -> str:
    if job.phase is Phase.FAILED:
        return "failed"
    return "promoted" if job.gate is not None and job.gate.verdict is Verdict.PROMOTE else "held"


def _failed(job: JobRecord, error: DescantError) -> JobRecord:
    return job.model_copy(update={"phase": Phase.FAILED, "reason": f"[{error.code}] {error}"})


def _ready(job: JobRecord, versions: Sequence[ModelVersion]) -> _Result:
    future: _Result = Future()
    future.set_result((job, versions))
    return future


def _now() -> datetime:
    return datetime.now(UTC)
