"""Reads a pipeline's topics and writes the observation log: one consumer thread, one producer.

It assembles requests, so that it needs all partitions: one intake runs at a time in a group, and a second one refuses
to start. The judging, which is the work, is spread over the log's partitions.
Its committed offsets stay below every open request; what it writes again after a crash is known by its ids.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from assertions.core.assembly import Assembler, Incoming
from assertions.core.definition import Assertion
from assertions.core.frontier import Frontier, Place
from assertions.core.log import Batch, Logged, split
from assertions.core.observation import Event
from assertions.errors import AssertionSetupError
from assertions.judging import Judge
from assertions.processor.ends import Ends
from assertions.processor.routing import Routes
from assertions.processor.topics import LOG_RECORD_BYTES_MAX, log_topic
from streams import metrics
from streams.core.control import decode_control
from streams.core.lineage import Serial
from streams.core.plan import Plan
from streams.core.record import Envelope, parse_envelope
from streams.errors import BrokerError, RecordError
from streams.runtime.consumer import IDLE_FETCH_MS, headers_of
from streams.runtime.contact import WATCHED
from streams.settings import KafkaSettings

BATCH_RECORDS: Final = 500
POLL_SECONDS: Final = 0.05
# While records come faster than this, each look takes what comes within some milliseconds together: a record of the
# log costs its readers, which are Faust's, a millisecond, and an item in it a fifth of that. At 500 items a second and
# 5 ms a processor that was behind at its start took four seconds to catch up; at 25 ms it takes one.
# A record that comes alone is passed on at once.
BUSY_SECONDS: Final = 0.02
LINGER_SECONDS: Final = 0.025
COMMIT_SECONDS: Final = 1.0
# Records of an idle pipeline's log, one a partition and interval: they move the watermark, so that flags come to stand.
TICK_SECONDS: Final = 0.5
ASSIGNED_SECONDS: Final = 60.0
# A pipeline makes its topics when it is started; one that was started together with the processors has them by then.
TOPICS_SECONDS: Final = 60.0
TOPICS_LOOK_SECONDS: Final = 0.25
# Between two questions where the partitions end, while an answer waits for one; otherwise a tick apart. An answer takes
# about that long to be the end of its request here, and a question costs a request to each broker.
ASK_SECONDS: Final = 0.1
# A partition that was cut short (by an unclean election) never reaches the end that was told before.
ASK_AGAIN_SECONDS: Final = 5.0
DUPLICATE: Final = "duplicate"
NOT_STAGES: Final = (".answers", ".control")

log = structlog.get_logger(__name__)


class _Closing(NamedTuple):
    """An answer, or the end of a duplicate. It waits for what it rests on: topics are read side by side, so that it can
    be read before an item that was written before it."""

    read_at: float
    time: float
    place: tuple[str, int, int]
    pipeline: str
    serial: Serial
    envelope: Envelope | None


def intake_group(group: str) -> str:
    return f"assertions.{group}.intake"


class Intake:
    """`run` blocks until `stop`; every error ends it and is raised there."""

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        assertions: Iterable[Assertion],
        partitions: int,
        plans: Iterable[Plan] = (),
        clock: Callable[[], float] = time.time,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """on_ready: called once, from the thread of `run`, when what is produced from then on is seen."""
        self._kafka: Final = kafka
        self._group: Final = group
        self._partitions: Final = partitions
        self._clock: Final = clock
        self._stopping: Final = threading.Event()
        listed = list(assertions)
        by_name = {plan.pipeline: plan for plan in plans}
        self._assemblers: Final = {
            pipeline: Assembler(pipeline, {a.stages for a in listed if a.pipeline == pipeline}, by_name.get(pipeline))
            for pipeline in sorted({a.pipeline for a in listed})
        }
        self._judge: Final = Judge()
        self._routes: Final = Routes(listed, partitions, self._judge)
        self._positions: Final[dict[tuple[str, int], int]] = {}
        self._frontier = Frontier(())
        """Of the stages' partitions."""
        self._ends: Final = Ends(kafka, clock)
        self._closing: Final[deque[_Closing]] = deque()
        self._refused: BaseException | None = None
        self._on_ready: Final = on_ready
        self._is_ready = False
        """All partitions are assigned."""
        self._unreadable: Final = metrics.INTAKE_UNREADABLE.labels(group)
        """Records that were not ours or not whole; the pipeline itself dead-letters those."""
        self._read_count: Final = metrics.RECORDS.labels(intake_group(group))
        self._behind: Final = metrics.INTAKE_BEHIND_SECONDS.labels(group)

    @property
    def topics(self) -> list[str]:
        found: list[str] = []
        for pipeline, assembler in self._assemblers.items():
            found += [f"{pipeline}.{stage}" for stage in assembler.stages]
            found += [f"{pipeline}.answers", f"{pipeline}.control"]
        return found

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        consumer = Consumer(
            {
                **self._kafka.client(),
                **WATCHED,
                "group.id": intake_group(self._group),
                "group.protocol": "consumer",
                "group.remote.assignor": "range",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": IDLE_FETCH_MS,
            }
        )
        producer = Producer(
            {
                **self._kafka.client(),
                "enable.idempotence": True,
                "linger.ms": 0,
                "message.timeout.ms": 0,
                "message.max.bytes": LOG_RECORD_BYTES_MAX,
                "on_delivery": self._delivered,
            }
        )
        try:
            places = self._find_partitions(consumer)
            if self._stopping.is_set():
                return
            self._frontier = Frontier(place for place in places if not place[0].endswith(NOT_STAGES))
            consumer.subscribe(self.topics)
            self._loop(consumer, producer, len(places))
        finally:
            self._ends.close()
            producer.flush(5)
            consumer.close()
            self._judge.close()

    def _find_partitions(self, consumer: Consumer) -> list[Place]:
        """Waits for the topics, so that processors and pipeline may be started together."""
        ends_at = time.monotonic() + TOPICS_SECONDS
        told = ""
        while not self._stopping.is_set():
            known = consumer.list_topics(timeout=10).topics
            missing = next((topic for topic in self.topics if topic not in known or not known[topic].partitions), None)
            if missing is None:
                return [(topic, number) for topic in self.topics for number in known[topic].partitions]
            if time.monotonic() > ends_at:
                raise AssertionSetupError(
                    f"there is no topic {missing!r}: no such pipeline or stage has run on this Kafka. "
                    "Start the pipeline first (descant run), or correct the assertion's on=."
                )
            if missing != told:
                log.info("waiting for a topic", topic=missing)
                told = missing
            self._stopping.wait(TOPICS_LOOK_SECONDS)
        return []

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._refused = BrokerError(f"the observation log does not take records: {error}")

    def _loop(self, consumer: Consumer, producer: Producer, total: int) -> None:
        started = last_commit = last_tick = last_records = time.monotonic()
        while not self._stopping.is_set():
            first = consumer.poll(POLL_SECONDS)
            now = time.monotonic()
            linger = LINGER_SECONDS if now - last_records < BUSY_SECONDS else 0
            messages = [first, *consumer.consume(BATCH_RECORDS - 1, linger)] if first is not None else []
            now = time.monotonic()
            if messages:
                last_records = now
                self._read_count.inc(len(messages))
            events = [event for message in messages for event in self._read(message)]
            self._ask(now)
            events += self._close()
            is_tick = now - last_tick >= TICK_SECONDS
            if is_tick:
                last_tick = now
                events += self._tick()
            outgoing: dict[int, list[Logged]] = defaultdict(list)
            for partition, logged in self._routes.route(events):
                outgoing[partition].append(logged)
            until = max(0.0, self._frontier.until)
            for partition in range(self._partitions) if is_tick else sorted(outgoing):
                for record in split(Batch(until, tuple(outgoing.get(partition, ())))):
                    self._produce(producer, partition, record)
            producer.poll(0)
            if self._refused is not None:
                raise self._refused
            if not self._is_ready:
                self._check_assigned(consumer, total, now - started)
            if now - last_commit >= COMMIT_SECONDS:
                last_commit = now
                self._commit(consumer, producer)
        self._commit(consumer, producer)

    def _ask(self, now: float) -> None:
        if (found := self._ends.answer()) is not None:
            self._frontier.answer(found)
        waited = now - self._ends.asked_at
        if waited > (ASK_SECONDS if self._closing else TICK_SECONDS) and (
            self._frontier.is_answered or waited > ASK_AGAIN_SECONDS
        ):
            self._ends.ask(self._frontier.places)

    def _tick(self) -> list[Event]:
        until = self._frontier.until
        self._behind.set(0 if self._frontier.is_at_ends else self._clock() - max(0.0, until))
        for pipeline, assembler in self._assemblers.items():
            metrics.INTAKE_OPEN.labels(pipeline).set(assembler.open_count)
        return [event for each in self._assemblers.values() for event in each.expire(until)]

    def _produce(self, producer: Producer, partition: int, record: bytes) -> None:
        while True:
            try:
                producer.produce(log_topic(self._group), record, partition=partition)
            except BufferError:
                producer.poll(POLL_SECONDS)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    raise
                self._unreadable.inc()
                log.warning("example too large to judge", bytes=len(record), bytes_max=LOG_RECORD_BYTES_MAX)
                return
            else:
                return

    def _check_assigned(self, consumer: Consumer, total: int, waited: float) -> None:
        if len(consumer.assignment()) == total:
            self._is_ready = True
            self._on_ready()
        elif waited > ASSIGNED_SECONDS:
            raise AssertionSetupError(
                f"another intake of group {self._group!r} is running. Give this one --no-intake to share the judging, "
                "or another --group."
            )

    def _read(self, message: Message) -> list[Event]:
        error = message.error()
        topic, partition, offset = str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._frontier.ended((topic, partition), offset)
            elif not error.retriable():
                raise KafkaException(error)
            return []
        at = message.timestamp()[1] / 1000
        self._frontier.read((topic, partition), offset, at)
        self._positions[topic, partition] = offset + 1
        pipeline, _, stage = topic.rpartition(".")
        assembler = self._assemblers[pipeline]
        try:
            if stage == "control":
                entry = decode_control(message.value())
                if entry.reason == DUPLICATE:
                    self._wait(at, (topic, partition, offset), pipeline, Serial(partition, entry.offset), None)
                return []
            envelope = parse_envelope(headers_of(message))
            if stage == "answers":
                if envelope.serial is not None:
                    self._wait(at, (topic, partition, offset), pipeline, envelope.serial, envelope)
                return []
            return assembler.record(Incoming(topic, partition, offset, at, envelope, message.value()))
        except RecordError as refused:
            self._unreadable.inc()
            log.warning("record not understood", topic=topic, partition=partition, offset=offset, code=refused.code)
            return []

    def _wait(
        self, time_: float, place: tuple[str, int, int], pipeline: str, serial: Serial, envelope: Envelope | None
    ) -> None:
        self._closing.append(_Closing(time.monotonic(), time_, place, pipeline, serial, envelope))

    def _close(self) -> list[Event]:
        """The requests whose answers rest on nothing that is still to be read: all partitions were read up to the
        answer's time, as they are while much is to be caught up with, or to where they ended after it had been read."""
        events: list[Event] = []
        if not self._closing:
            return events
        until, complete_at = self._frontier.until, self._frontier.complete_at
        while self._closing and (self._closing[0].time < until or self._closing[0].read_at <= complete_at):
            closing = self._closing.popleft()
            assembler = self._assemblers[closing.pipeline]
            if closing.envelope is None:
                events += assembler.dropped(closing.serial)
            else:
                events += assembler.answered(closing.serial, closing.envelope)
        return events

    def _commit(self, consumer: Consumer, producer: Producer) -> None:
        if not self._positions or producer.flush(10):
            return
        offsets = dict(self._positions)
        for assembler in self._assemblers.values():
            offsets.update(assembler.low_offsets())
        for closing in self._closing:
            topic, partition, offset = closing.place
            offsets[topic, partition] = min(offset, offsets.get((topic, partition), offset))
        mine = {(at.topic, at.partition) for at in consumer.assignment()}
        places = [TopicPartition(t, p, offset) for (t, p), offset in offsets.items() if (t, p) in mine]
        try:
            if places:
                consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            # The next second's commit covers this one; a restart before it reads a little more again.
            log.warning("intake offsets not committed", reason=str(error.args[0]))
