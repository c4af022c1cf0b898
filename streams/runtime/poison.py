"""A record that cannot be used: its bytes, as they came, go to dead letters with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import structlog
from confluent_kafka import Message

from streams import metrics
from streams.core.failure import Failure
from streams.core.record import Headers
from streams.runtime.consumer import headers_of
from streams.runtime.producer import LoopProducer
from streams.runtime.topics import dead_letters_topic

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Poison:
    topic: str
    partition: int
    offset: int
    key: str | bytes | None
    value: bytes | None
    headers: Headers

    @classmethod
    def of(cls, message: Message) -> Self:
        place = message.topic() or "", message.partition() or 0, message.offset() or 0
        return cls(*place, message.key(), message.value(), [*headers_of(message)])


def dead_letter(producer: LoopProducer, pipeline: str, poison: Poison, stage: str, failure: Failure) -> None:
    """Tell of it, without a word of what it held; the text of the error never quotes it either."""
    headers: Headers = [
        ("reason", failure.code.encode()),
        ("message", failure.message.encode()),
        ("stage", stage.encode()),
        ("topic", poison.topic.encode()),
        ("partition", b"%d" % poison.partition),
        ("offset", b"%d" % poison.offset),
    ]
    headers += [(f"original.{name}", value or b"") for name, value in poison.headers]
    metrics.DEAD_LETTERS.labels(pipeline, failure.code).inc()
    producer.send(dead_letters_topic(pipeline), poison.key, poison.value, headers)
    log.warning("dead letter", reason=failure.code, stage=stage, topic=poison.topic, offset=poison.offset)
