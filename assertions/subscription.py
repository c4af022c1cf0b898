"""Subscriptions to flags from Python. Any Kafka client may read `assertions.flags` as well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Final, Literal

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition
from pydantic import ValidationError

from assertions.core.alerting import AlertFilter, HeldBack, Sieve
from assertions.core.flag import Flag
from assertions.errors import AssertionSetupError
from assertions.processor.topics import FLAGS
from streams.errors import BrokerError
from streams.runtime.consumer import IDLE_FETCH_MS, retrying
from streams.settings import KafkaSettings

Since = datetime | Literal["beginning", "now"]

POLL_SECONDS: Final = 0.2
BATCH: Final = 200
# What a resumed subscription reads again, to know what it has delivered: a flag stands or is withdrawn within its
# request's deadline and its window, which are minutes.
REMEMBER_SECONDS: Final = 900.0
LOOK_BACK_SECONDS: Final = 30.0


class Alerts:
    """What `alerts` returns: iterate it; `held_back` counts what was not delivered."""

    def __init__(
        self, kafka: KafkaSettings, only: AlertFilter, *, since: Since, per_minute: float | None, resume: str | None
    ) -> None:
        self._sieve: Final = Sieve(only, per_minute)
        self._kafka: Final = kafka
        self._since: Final = since
        self._resume: Final = resume
        self.unreadable = 0
        """Records on the flags topic that are no flags of this version."""

    @property
    def held_back(self) -> HeldBack:
        return self._sieve.held_back

    async def __aiter__(self) -> AsyncIterator[Flag]:
        consumer = await asyncio.to_thread(self._connect)
        try:
            while True:
                for message in await asyncio.to_thread(_batch, consumer):
                    flag = self._read(message)
                    for delivered in () if flag is None else self._sieve.take(flag, time.monotonic()):
                        yield delivered
                    if self._resume is not None:
                        # Behind the yield: a flag is done with when the subscriber asks for the next one.
                        consumer.store_offsets(message)
        finally:
            await asyncio.to_thread(consumer.close)

    def _connect(self) -> Consumer:
        consumer = Consumer(
            {
                **self._kafka.client(),
                "group.id": f"alerts.{self._resume}" if self._resume else "alerts",
                "enable.auto.commit": self._resume is not None,
                "enable.auto.offset.store": False,
                "auto.commit.interval.ms": 500,
                "auto.offset.reset": "earliest" if self._since == "beginning" else "latest",
                "fetch.wait.max.ms": IDLE_FETCH_MS,
                **({"group.protocol": "consumer"} if self._resume else {}),
            }
        )
        known = consumer.list_topics(FLAGS, timeout=10).topics.get(FLAGS)
        if known is None or not known.partitions:
            consumer.close()
            raise AssertionSetupError(
                f"there is no topic {FLAGS!r}: no assertion has run on this Kafka. "
                "Start them with `descant assertions run`."
            )
        if self._resume:
            consumer.subscribe([FLAGS], on_assign=self._remember)
        else:
            consumer.assign(self._places(consumer, list(known.partitions)))
        return consumer

    def _places(self, consumer: Consumer, partitions: list[int]) -> list[TopicPartition]:
        match self._since:
            case "beginning":
                return [TopicPartition(FLAGS, p, OFFSET_BEGINNING) for p in partitions]
            case "now":
                ends = (consumer.get_watermark_offsets(TopicPartition(FLAGS, p), timeout=10) for p in partitions)
                return [TopicPartition(FLAGS, p, end) for p, (_, end) in zip(partitions, ends, strict=True)]
            case moment:
                at = [TopicPartition(FLAGS, p, int(moment.timestamp() * 1000)) for p in partitions]
                found = consumer.offsets_for_times(at, timeout=10)
                return [TopicPartition(FLAGS, f.partition, f.offset if f.offset >= 0 else OFFSET_END) for f in found]

    def _remember(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        """Take again what this name was given before: else a flag that it was told of would come as news when it
        stands, and one that is withdrawn would never be taken back."""
        ends_at = time.monotonic() + LOOK_BACK_SECONDS
        found = retrying(lambda: consumer.committed(assigned, timeout=10), still=lambda: time.monotonic() < ends_at)
        known = [place for place in found if place.offset >= 0]
        if not known:
            return
        reader = Consumer({**self._kafka.client(), "group.id": "alerts"})
        try:
            for message in _between(reader, known):
                flag = self._read(message)
                if flag is not None:
                    self._sieve.take(flag, time.monotonic() - (time.time() - message.timestamp()[1] / 1000))
        finally:
            reader.close()
        self._sieve.held_back.clear()

    def _read(self, message: Message) -> Flag | None:
        try:
            return Flag.from_bytes(message.value() or b"")
        except ValidationError:
            self.unreadable += 1
            return None


def _batch(consumer: Consumer) -> list[Message]:
    first = consumer.poll(POLL_SECONDS)
    if first is None:
        return []
    good = []
    for message in [first, *consumer.consume(BATCH, 0)]:
        error = message.error()
        if error is None:
            good.append(message)
        elif error.code() != KafkaError._PARTITION_EOF and not error.retriable():
            raise BrokerError(f"{FLAGS} cannot be read: {error}") from KafkaException(error)
    return good


def _between(reader: Consumer, ends: list[TopicPartition]) -> Iterator[Message]:
    """What lies before these places, from REMEMBER_SECONDS before now on."""
    since = int((time.time() - REMEMBER_SECONDS) * 1000)
    found = reader.offsets_for_times([TopicPartition(FLAGS, p.partition, since) for p in ends], timeout=10)
    starts = {at.partition: at.offset for at in found if at.offset >= 0}
    left = {p.partition: p.offset for p in ends if starts.get(p.partition, p.offset) < p.offset}
    reader.assign([TopicPartition(FLAGS, partition, starts[partition]) for partition in left])
    give_up = time.monotonic() + LOOK_BACK_SECONDS
    while left and time.monotonic() < give_up:
        for message in reader.consume(BATCH, POLL_SECONDS):
            if message.error() is not None:
                continue
            partition, offset = int(message.partition() or 0), int(message.offset() or 0)
            if partition in left and offset < left[partition]:
                yield message
            if offset + 1 >= left.get(partition, 0):
                left.pop(partition, None)


def alerts(
    bootstrap: str | KafkaSettings,
    *,
    assertion: str | None = None,
    min_severity: float = 0.0,
    pipeline: str | None = None,
    tag: str | None = None,
    since: Since = "now",
    standing_only: bool = False,
    per_minute: float | None = None,
    resume: str | None = None,
) -> Alerts:
    """Flags as they are raised: `async for flag in alerts("localhost:9092", min_severity=0.5): ...`.

    since          from when on; a resumed subscription goes on where it stopped instead
    standing_only  wait until a flag cannot be withdrawn any more
    per_minute     most alerts of one assertion; the rest is counted in `held_back.limited`
    resume         a name: the position is kept in Kafka, and subscribers of one name share the flags

    A flag is delivered once, when it is raised; its withdrawal follows if its run was superseded (`flag.state`).
    Answers that disagree are flagged each, and one alert names them all (`held_back.named`).
    With `resume`, a flag being worked on when the subscriber died comes again, and none that it was told of before.
    Raises AssertionSetupError when there is no flags topic, BrokerError when Kafka cannot be read.
    """
    kafka = bootstrap if isinstance(bootstrap, KafkaSettings) else KafkaSettings(bootstrap=bootstrap)
    only = AlertFilter(assertion, pipeline, min_severity, tag, standing_only)
    return Alerts(kafka, only, since=since, per_minute=per_minute, resume=resume)
