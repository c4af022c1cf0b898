"""What people do with labels and models over Kafka: one function a command, for the CLI, the console and tests
alike."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from confluent_kafka import KafkaException, Producer

from learning.errors import LabelError
from learning.labels import check
from learning.records import (
    MODELS,
    JobRecord,
    Label,
    LabelRequest,
    LabelSource,
    ModelVersion,
    Phase,
    Record,
    VersionState,
)
from learning.versions import promoted, rolled_back
from learning.view import Learned, View, topics
from streams.errors import BrokerError
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings

FLUSH_SECONDS = 30.0


def learned(kafka: KafkaSettings) -> Learned:
    """Everything that the learning topics hold now."""
    ensure_topics(kafka, topics())
    view = View(kafka)
    try:
        return view.catch_up()
    finally:
        view.close()


def publish(kafka: KafkaSettings, records: Sequence[Record]) -> None:
    """Write records in one transaction: all of them, or none. Raises BrokerError."""
    producer = Producer(
        {**kafka.client(), "transactional.id": f"descant.learning.desk.{uuid.uuid4().hex}",
         "partitioner": "murmur2_random", "linger.ms": 0}
    )  # fmt: skip
    try:
        producer.init_transactions(FLUSH_SECONDS)
        producer.begin_transaction()
        for record in records:
            producer.produce(record.topic, record.encoded(), record.key)
            if isinstance(record, ModelVersion) and record.state is VersionState.CURRENT:
                producer.produce(MODELS, record.encoded(), record.name)
        producer.commit_transaction(FLUSH_SECONDS)
    except KafkaException as error:
        raise BrokerError(
            f"the records could not be written: {error.args[0].str()}. Nothing was; try again."
        ) from error


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
    """Make a version current. Returns the records written; none where it is current already. Raises TrainingError."""
    return _write(kafka, promoted(learned(kafka).known(model), version))


def roll_back(kafka: KafkaSettings, model: str) -> Sequence[ModelVersion]:
    """Put the current version's parent back. Returns the records written. Raises TrainingError where it has none."""
    return _write(kafka, rolled_back(learned(kafka).known(model)))


def _write(kafka: KafkaSettings, records: Sequence[ModelVersion]) -> Sequence[ModelVersion]:
    if records:
        publish(kafka, records)
    return records


def _request(known: Learned, example: str) -> LabelRequest:
    if example not in known.labels.requests:
        raise LabelError(
            f"nobody asked for a label of {example!r}. `descant labels next` shows what is open.",
            code="learning.label.unknown",
        )
    return known.labels.requests[example]


def _now() -> datetime:
    return datetime.now(UTC)
