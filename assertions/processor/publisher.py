"""Writes flags and health, and reads back what a predecessor wrote."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from pydantic import ValidationError

from assertions.core.flag import Flag
from assertions.processor.enforcing import Enforcer
from assertions.processor.topics import FLAGS, HEALTH
from streams import metrics
from streams.core.plan import Plan
from streams.core.record import Headers
from streams.errors import BrokerError
from streams.settings import KafkaSettings
from streams.tracing import Tracing, current

FLUSH_SECONDS: Final = 30.0
# A flag of a replay is not older than the first reading of its record, up to what clocks of two machines differ.
CLOCK_MARGIN_SECONDS: Final = 60.0


class Publisher:
    """Of one process. A refused record is raised at the next call: nothing is lost in silence."""

    def __init__(self, kafka: KafkaSettings, group: str, plans: Mapping[str, Plan]) -> None:
        self._kafka: Final = kafka
        self._group: Final = group
        self._refused: BrokerError | None = None
        self._enforcer: Final = Enforcer(plans)
        self._tracing: Final = current()
        self._producer: Final = Producer(
            {
                **kafka.client(),
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
                "message.timeout.ms": 0,
                "on_delivery": self._delivered,
            }
        )

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._refused = BrokerError(f"{message.topic()} does not take a record: {error}")

    def _trace(self, tracing: Tracing, flag: Flag) -> None:
        attributes = {
            "descant.assertion": flag.assertion,
            "descant.flag": flag.id,
            "descant.flag.state": flag.state.value,
            "descant.severity": flag.severity,
            "descant.pipeline": flag.data.lineage.pipeline,
            "descant.request": flag.data.lineage.request,
        }
        span = tracing.below(flag.traceparent or "", f"flag {flag.assertion}", attributes)
        if span is not None:
            span.end()

    def write(self, fold: int, flags: Iterable[Flag]) -> None:
        headers: Headers = [("group", self._group.encode()), ("fold", b"%d" % fold)]
        for flag in flags:
            if self._tracing is not None:
                self._trace(self._tracing, flag)
            self._send(FLAGS, flag.subject, flag.to_bytes(), [*headers, ("ce_id", flag.id.encode())])
            metrics.FLAGS.labels(flag.assertion, flag.state.value).inc()
            if flag.data.revision == 1:
                seconds = time.time() - datetime.fromisoformat(flag.time).timestamp()
                metrics.FLAG_SECONDS.labels(flag.assertion).observe(max(0.0, seconds))
        self._producer.poll(0)
        self._check()

    def enforce(self, flags: Iterable[Flag]) -> list[Flag]:
        """Ask of the pipelines what these flags have decided; the flags as they are to be written."""
        written, orders = self._enforcer.take(flags)
        for order in orders:
            self._send(order.topic, order.key, order.value, order.headers)
        for flag in written:
            if flag.data.decision is not None and flag.data.revision == 1:
                metrics.ENFORCED.labels(flag.assertion, flag.data.decision).inc()
        return written

    def health(self, instance: str, states: Mapping[str, Mapping[str, Any]]) -> None:
        for name, state in states.items():
            body = {"assertion": name, "group": self._group, "instance": instance, "time": time.time(), **state}
            self._send(HEALTH, f"{name}/{self._group}/{instance}", json.dumps(body).encode(), [])
        self._producer.poll(0)

    def _send(self, topic: str, key: str, value: bytes | None, headers: Headers) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, headers=headers)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return

    def flush(self) -> None:
        """Everything written is acknowledged when this returns. Raises BrokerError otherwise."""
        if self._producer.flush(FLUSH_SECONDS):
            raise BrokerError(f"flags were not acknowledged within {FLUSH_SECONDS:.0f} s; is Kafka up?")
        self._check()

    def _check(self) -> None:
        if self._refused is not None:
            raise self._refused

    def written_since(self, seconds: float) -> list[tuple[int, Flag]]:
        """(fold, flag) of this group's records since a wall clock time, in the order of the topic's partitions."""
        consumer = Consumer({**self._kafka.client(), "group.id": f"assertions.{self._group}.restore"})
        try:
            return self._scan(consumer, max(0.0, seconds - CLOCK_MARGIN_SECONDS))
        finally:
            consumer.close()

    def _scan(self, consumer: Consumer, since: float) -> list[tuple[int, Flag]]:
        partitions = consumer.list_topics(FLAGS, timeout=10).topics[FLAGS].partitions
        at = [TopicPartition(FLAGS, p, int(since * 1000)) for p in partitions]
        found: list[tuple[int, Flag]] = []
        remaining: dict[int, int] = {}
        starts: list[TopicPartition] = []
        for start in consumer.offsets_for_times(at, timeout=10):
            low, high = consumer.get_watermark_offsets(start, timeout=10, cached=False)
            offset = high if start.offset < 0 else max(low, start.offset)
            if offset < high:
                remaining[start.partition] = high
                starts.append(TopicPartition(FLAGS, start.partition, offset))
        consumer.assign(starts)
        ends_at = time.monotonic() + FLUSH_SECONDS
        while remaining:
            for message in consumer.consume(1_000, 0.2):
                if message.error() is not None:
                    raise KafkaException(message.error())
                ends_at = time.monotonic() + FLUSH_SECONDS
                partition, offset = int(message.partition() or 0), int(message.offset() or 0)
                if (read := self._own(message)) is not None:
                    found.append(read)
                if offset + 1 >= remaining.get(partition, 0):
                    remaining.pop(partition, None)
            if time.monotonic() > ends_at:
                raise BrokerError(f"{FLAGS} could not be read back; is Kafka up?")
        return found

    def _own(self, message: Message) -> tuple[int, Flag] | None:
        headers = dict(message.headers() or [])
        group, fold = headers.get("group"), headers.get("fold")
        if group != self._group.encode() or not isinstance(fold, bytes) or not fold.isdigit():
            return None
        try:
            return int(fold), Flag.from_bytes(message.value() or b"")
        except ValidationError:
            return None  # of another version of Descant; its ids are others too
