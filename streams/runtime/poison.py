"""A record that cannot be used: its bytes, as they came, go to dead letters with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import structlog
from confluent_kafka import Message

from streams import metrics
from streams.core.failure import Failure
from streams.core.record import Headers
from streams.runtime.consumer import headers_of
from streams.runtime.producer import LoopProducer
from streams.runtime.topics import DEAD_LETTER_ROOM_BYTES, dead_letters_topic

HEADER_OVERHEAD_BYTES: Final = 32
"""Of our prefix, and of the lengths in the log."""

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
    headers += _original(poison.headers)
    metrics.DEAD_LETTERS.labels(pipeline, failure.code).inc()
    producer.send(dead_letters_topic(pipeline), poison.key, poison.value, headers)
    log.warning("dead letter", reason=failure.code, stage=stage, topic=poison.topic, offset=poison.offset)


def _original(headers: Headers) -> Headers:
    """As many as there is room for: a record that may have any headers must not be able to be too large for its letter,
    since whoever cannot write that cannot go on."""
    found: Headers = []
    room = DEAD_LETTER_ROOM_BYTES // 2
    for name, value in headers:
        room -= len(name.encode()) + len(value or b"") + HEADER_OVERHEAD_BYTES
        if room < 0:
            found.append(("headers-left-out", b"%d" % (len(headers) - len(found))))
            break
        found.append((f"original.{name}", value or b""))
    return found
