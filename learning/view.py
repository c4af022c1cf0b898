"""What the learning topics say, read from their beginning and kept up: requests, labels, versions, and the
journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # re-exported without saying so

from learning.errors import LabelError
from learning.labels import Labels
from learning.records import (
    CHOICES,
    JOBS,
    LABEL_REQUESTS,
    LABELS,
    MODELS,
    Choice,
    JobRecord,
    Label,
    LabelRequest,
    ModelVersion,
    Phase,
    canary_key,
)
from learning.watermarks import watermarks
from streams.errors import BrokerError
from streams.runtime.offsets import OffsetLookup, Place
from streams.settings import KafkaSettings

TOPICS: Final = (LABEL_REQUESTS, LABELS, MODELS, JOBS, CHOICES)

VIEW_GROUP: Final = "learning.view"
"""Never joined and never committed to; the client asks for its coordinator all the same."""

PARTITIONS: Final = 6
"""Of each learning topic; the most retraining processes that can share the models."""

CALL_SECONDS: Final = 20.0
BATCH_RECORDS: Final = 500


def topics(replication: int = 1) -> list[NewTopic]:
    """Compacted where the newest record of a key is all that counts; labels are kept, every one of them."""
    compacted = {"cleanup.policy": "compact"}
    kept = {"cleanup.policy": "delete", "retention.ms": "-1"}
    configs = {LABEL_REQUESTS: compacted, LABELS: kept, MODELS: compacted, JOBS: compacted, CHOICES: compacted}
    return [NewTopic(t, PARTITIONS, replication, config=c) for t, c in configs.items()]


@dataclass
class Learned:
    """The fold of all records. `refused` are labels that could not be used, with the reason: shown, never dropped
    silently."""

    labels: Labels = field(default_factory=Labels)
    versions: dict[str, dict[int, ModelVersion]] = field(default_factory=dict)
    jobs: dict[str, JobRecord] = field(default_factory=dict)
    """By model, the newest record of the newest job."""
    asked: dict[str, JobRecord] = field(default_factory=dict)
    """By model, a request by hand that no job has served yet."""
    choices: dict[str, Choice] = field(default_factory=dict)
    """By model, its newest round of choosing."""
    refused: list[tuple[str, LabelError]] = field(default_factory=list)

    def fold(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Take one record in. One that cannot be used is noted and passed over: the topic goes on."""
        name = (key or b"").decode(errors="replace")
        try:
            self._fold(topic, name, value)
        except LabelError as error:
            self.refused.append((name, error))

    def _fold(self, topic: str, name: str, value: bytes | None) -> None:
        if value is None:
            return
        if topic == LABEL_REQUESTS:
            self.labels.ask(LabelRequest.read(value))
        elif topic == LABELS:
            self.labels.say(Label.read(value))
        elif topic == CHOICES:
            choice = Choice.read(value)
            self.choices[choice.model] = choice
        elif topic == MODELS and "@" in name and name != canary_key(name.partition("@")[0]):
            version = ModelVersion.read(value)
            self.versions.setdefault(version.name, {})[version.version] = version
        elif topic == JOBS:
            job = JobRecord.read(value)
            (self.asked if job.phase is Phase.ASKED else self.jobs)[job.model] = job
            asked, last = self.asked.get(job.model), self.jobs.get(job.model)
            if asked is not None and last is not None and asked.job in {last.job, last.served}:
                del self.asked[job.model]

    @property
    def models(self) -> set[str]:
        """All that any record names."""
        return {r.model for r in self.labels.requests.values()} | set(self.versions) | set(self.jobs)

    def known(self, model: str) -> Sequence[ModelVersion]:
        return [v for _, v in sorted(self.versions.get(model, {}).items())]


class View:
    """A reader without a group: every process reads everything. Not thread-safe; its owner polls it."""

    def __init__(self, kafka: KafkaSettings, topics: Sequence[str] = TOPICS) -> None:
        self.learned: Final = Learned()
        self._kafka: Final = kafka
        self._consumer: Final = Consumer(
            {
                **kafka.client(),
                "group.id": VIEW_GROUP,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
            }
        )
        self._read_to: Final[dict[Place, int]] = {}
        found = self._consumer.list_topics(timeout=CALL_SECONDS).topics
        self._places: Final = [TopicPartition(t, p, 0) for t in topics if t in found for p in found[t].partitions]
        self._consumer.assign(self._places)
        self._lookup: Final = OffsetLookup(kafka, seconds_max=CALL_SECONDS, stable=True)

    def catch_up(self) -> Learned:
        """Read everything that was committed before this call. Raises BrokerError when that takes too long."""
        # An end is the last *stable* offset's for a reader of committed records, so that a transaction that is still
        # open does not hold this up: what it writes comes with a later call.
        places = [(place.topic, place.partition) for place in self._places]
        for (topic, partition), (low, high) in watermarks(self._lookup, places).items():
            self._wait_for(topic, partition, low, high)
        return self.learned

    def has_read(self, places: Mapping[Place, int]) -> bool:
        """The records at these places, and so all that were committed with them."""
        return all(self._read_to.get(place, 0) > offset for place, offset in places.items())

    def _wait_for(self, topic: str, partition: int, low: int, high: int) -> None:
        waited = 0.0
        while high > low and self._read_to.get((topic, partition), 0) < high:
            if not self.poll(0.1):
                waited += 0.1
            if waited > CALL_SECONDS:
                raise BrokerError(f"topic {topic!r} could not be read to its end within {CALL_SECONDS:.0f} s.")

    def poll(self, seconds: float) -> int:
        """Fold in what has come, waiting at most so long for the first record; how many."""
        first = self._consumer.poll(seconds)
        batch = [] if first is None else [first, *self._consumer.consume(BATCH_RECORDS, 0)]
        return sum(self._take(message) for message in batch)

    def _take(self, message: Message) -> int:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        error = message.error()
        if topic is not None and partition is not None and offset is not None and offset >= 0:
            # The end that an EOF names may lie behind a transaction's marker, which is an offset without a record.
            self._read_to[topic, partition] = offset + (error is None)
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF or error.retriable():
                return 0
            raise BrokerError(f"a learning topic cannot be read: {error.str()}.")
        key, value = message.key(), message.value()
        assert topic is not None  # noqa: S101 a record has a topic
        self.learned.fold(topic, _bytes(key), _bytes(value))
        return 1

    def close(self) -> None:
        self._consumer.close()


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
