"""What people do with labels and models over Kafka: one function a command, for the CLI, the console and tests
alike."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from confluent_kafka import KafkaException, Producer

from learning.errors import LabelError
from learning.journal import produce
from learning.labels import check
from learning.records import JobRecord, Label, LabelRequest, LabelSource, ModelVersion, Phase, Record
from learning.versions import promoted, rolled_back, trial_ended, tried
from learning.view import Learned, View, topics
from streams.errors import BrokerError
from streams.runtime.offsets import OffsetLookup, Place
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings

FLUSH_SECONDS = 30.0

SEEN_SECONDS = 10.0
SEEN_POLL_SECONDS = 0.01


def learned(kafka: KafkaSettings) -> Learned:
    """Everything that the learning topics hold now."""
    ensure_topics(kafka, topics())
    view = View(kafka)
    try:
        return view.catch_up()
    finally:
        view.close()


def publish(kafka: KafkaSettings, records: Sequence[Record]) -> None:
    """Write records in one transaction: all of them, or none; returns when whoever reads next sees them.

    Raises BrokerError.
    """
    producer = Producer(
        {**kafka.client(), "transactional.id": f"descant.learning.desk.{uuid.uuid4().hex}",
         "partitioner": "murmur2_random", "linger.ms": 0}
    )  # fmt: skip
    try:
        producer.init_transactions(FLUSH_SECONDS)
        producer.begin_transaction()
        written = produce(producer, records)
        producer.commit_transaction(FLUSH_SECONDS)
    except KafkaException as error:
        raise BrokerError(
            f"the records could not be written: {error.args[0].str()}. Nothing was; try again."
        ) from error
    _wait_until_seen(kafka, written)


def _wait_until_seen(kafka: KafkaSettings, written: Mapping[Place, int]) -> None:
    """A commit is answered before its markers are written, and a partition is read up to its first open transaction.
    One of somebody else that stays open is not waited for longer than SEEN_SECONDS."""
    lookup = OffsetLookup(kafka, seconds_max=SEEN_SECONDS, stable=True)
    ends_at = time.monotonic() + SEEN_SECONDS
    while time.monotonic() < ends_at:
        try:
            ends = lookup.ends_of(written)
        except KafkaException:
            return  # they are written all the same
        if all(ends[place] > offset for place, offset in written.items()):
            return
        time.sleep(SEEN_POLL_SECONDS)


def ask(kafka: KafkaSettings, requests: Sequence[LabelRequest]) -> None:
    """Put examples up for labelling; one that is there already is replaced by its newer request."""
    ensure_topics(kafka, topics())
    publish(kafka, requests)


def submit(
    kafka: KafkaSettings, example: str, value: str, *, labeller: str, source: LabelSource = LabelSource.PERSON
) -> Label:
    """Label one example. Raises LabelError where nobody asked for it or the class is not one of its classes."""
    request = _request(learned(kafka), example)
    label = Label(
        id=uuid.uuid4().hex, example=example, model=request.model, labeller=labeller, value=value, source=source,
        labelled_at=_now(),
    )  # fmt: skip
    check(label, request)
    publish(kafka, [label])
    return label


def dismiss(kafka: KafkaSettings, example: str) -> LabelRequest:
    """Say that nobody can label an example, so that it waits no longer. Raises LabelError where nobody asked."""
    request = _request(learned(kafka), example).model_copy(update={"dismissed": True})
    publish(kafka, [request])
    return request


def withdraw(kafka: KafkaSettings, example: str, *, labeller: str) -> Label:
    """Take a labeller's word back. Raises LabelError where there is none."""
    known = learned(kafka)
    request = _request(known, example)
    earlier = next((label for label in known.labels.opinion(example).labels if label.labeller == labeller), None)
    if earlier is None:
        raise LabelError(
            f"labeller {labeller!r} has no standing label of {example!r}.", code="learning.label.nothing-to-withdraw"
        )
    label = Label(
        id=uuid.uuid4().hex, example=example, model=request.model, labeller=labeller, value=None, withdrawn=True,
        supersedes=earlier.id, labelled_at=_now(),
    )  # fmt: skip
    publish(kafka, [label])
    return label


def retrain(kafka: KafkaSettings, model: str) -> JobRecord:
    """Ask the retraining job to start now, whatever its trigger says."""
    ensure_topics(kafka, topics())
    record = JobRecord(model=model, job=uuid.uuid4().hex, phase=Phase.ASKED, at=_now())
    publish(kafka, [record])
    return record


def promote(kafka: KafkaSettings, model: str, version: int) -> Sequence[ModelVersion]:
    """Make a version current. Returns those that changed; none where it is current already. Raises TrainingError."""
    return _write(kafka, promoted(learned(kafka).known(model), version))


def roll_back(kafka: KafkaSettings, model: str) -> Sequence[ModelVersion]:
    """Put the current version's parent back. Returns those that changed. Raises TrainingError where it has none."""
    return _write(kafka, rolled_back(learned(kafka).known(model)))


def try_out(kafka: KafkaSettings, model: str, version: int, share: float) -> Sequence[ModelVersion]:
    """Give a version a share of the traffic, beside the current one. Returns those that changed. Raises
    TrainingError."""
    return _write(kafka, tried(learned(kafka).known(model), version, share))


def end_trial(kafka: KafkaSettings, model: str) -> Sequence[ModelVersion]:
    """Take its share from the canary. Returns those that changed. Raises TrainingError where there is none."""
    return _write(kafka, trial_ended(learned(kafka).known(model)))


def _write(kafka: KafkaSettings, records: Sequence[Record]) -> Sequence[ModelVersion]:
    if records:
        publish(kafka, records)
    return [record for record in records if isinstance(record, ModelVersion)]


def _request(known: Learned, example: str) -> LabelRequest:
    if example not in known.labels.requests:
        raise LabelError(
            f"nobody asked for a label of {example!r}. `descant labels next` shows what is open.",
            code="learning.label.unknown",
        )
    return known.labels.requests[example]


def _now() -> datetime:
    return datetime.now(UTC)
