"""Reads one text back from its output partition, for the next owner of a lane (PROTOCOL §8)."""

from __future__ import annotations

from typing import Final

from confluent_kafka import Consumer, TopicPartition

from streams.core.lane import Prompt
from streams.core.record import Envelope, parse_envelope
from streams.errors import RecordError
from streams.runtime.consumer import BATCH_RECORDS, CALL_SECONDS, CONSUMER_CONFIG, POLL_SECONDS, headers_of, retrying
from streams.settings import KafkaSettings

MARGIN_MS: Final = 2_000
"""Append times come from two brokers' clocks; a margin costs a little reading, a gap would cost the text."""

Found = tuple[Envelope, bytes | None]


class TextLog:
    """Blocking; for a worker thread. One consumer for all looks of a worker, used by one thread at a time."""

    def __init__(self, kafka: KafkaSettings) -> None:
        config = {k: v for k, v in CONSUMER_CONFIG.items() if not k.startswith("group.")}
        self._consumer: Final = Consumer({**kafka.client(), **config, "group.id": "descant-textlog"})

    def start_of(self, topic: str, partition: int, since_ms: int) -> int:
        """The first offset appended at `since_ms` less the margin, or later."""
        at = TopicPartition(topic, partition, max(0, since_ms - MARGIN_MS))
        found = retrying(lambda: self._consumer.offsets_for_times([at], timeout=CALL_SECONDS))[0]
        return found.offset if found.offset >= 0 else self.end_of(topic, partition)

    def end_of(self, topic: str, partition: int) -> int:
        at = TopicPartition(topic, partition)
        return retrying(lambda: self._consumer.get_watermark_offsets(at, timeout=CALL_SECONDS, cached=False))[1]

    def read(self, topic: str, partition: int, start: int, end: int, prompt: Prompt) -> list[Found]:
        """The records of this prompt run's text in [start, end)."""
        found: list[Found] = []
        position = start
        if position >= end:
            return found
        self._consumer.assign([TopicPartition(topic, partition, start)])
        while position < end:
            first = self._consumer.poll(POLL_SECONDS)
            if first is None:
                continue
            for message in (first, *self._consumer.consume(BATCH_RECORDS, 0)):
                if message.error() is not None:
                    continue
                position = (message.offset() or 0) + 1
                if position > end:
                    break
                try:
                    envelope = parse_envelope(headers_of(message))
                except RecordError:
                    continue
                if prompt.is_text_of(envelope):
                    found.append((envelope, message.value()))
        self._consumer.unassign()
        return found

    def close(self) -> None:
        self._consumer.close()
