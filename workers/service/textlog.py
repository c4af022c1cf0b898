"""Reads texts back from their output partitions, for the next owner of a lane (PROTOCOL §8).

A lane that is taken over may hold hundreds of prompts whose texts lie among each other in the same partitions. One pass
over a partition serves all that wait for it: with a pass for each, the time to take a lane over grew with the square of
the prompts in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.core.lane import Prompt
from streams.core.record import Envelope, parse_envelope
from streams.errors import BrokerError, RecordError
from streams.runtime.consumer import BATCH_RECORDS, POLL_SECONDS, READER_CONFIG, headers_of
from streams.runtime.offsets import OffsetLookup
from streams.settings import KafkaSettings

MARGIN_MS: Final = 2_000
"""Append times come from two brokers' clocks; a margin costs a little reading, a gap would cost the text."""


class Found(NamedTuple):
    """The records of one text, in log order, in [.., end)."""

    records: list[tuple[Envelope, bytes | None]]
    end: int


@dataclass(slots=True, eq=False)
class _Want:
    prompt: Prompt
    since_ms: int | None
    """Begin at this append time; None: at `start`."""
    start: int
    end: int
    """-1: where the partition ends now."""
    done: asyncio.Future[Found]
    records: list[tuple[Envelope, bytes | None]] = field(default_factory=list)


class TextLog:
    """One consumer for all looks of a worker."""

    def __init__(self, kafka: KafkaSettings, lookup: OffsetLookup) -> None:
        self._lookup: Final = lookup
        self._consumer: Final = Consumer({**kafka.client(), **READER_CONFIG, "group.id": "descant-textlog"})
        self._waiting: Final[dict[tuple[str, int], list[_Want]]] = {}
        self._serving: asyncio.Task[None] | None = None
        self._is_open = True

    async def look(self, topic: str, partition: int, since_ms: int, prompt: Prompt) -> Found:
        """This prompt run's text as the partition holds it now, from `since_ms` less a margin on.

        Raises BrokerError when what is looked for has expired meanwhile.
        """
        return await self._ask(topic, partition, max(0, since_ms - MARGIN_MS), 0, -1, prompt)

    async def read(self, topic: str, partition: int, start: int, end: int, prompt: Prompt) -> Found:
        """This prompt run's text in [start, end). Raises as `look` does."""
        return await self._ask(topic, partition, None, start, end, prompt)

    async def _ask(
        self, topic: str, partition: int, since_ms: int | None, start: int, end: int, prompt: Prompt
    ) -> Found:
        want = _Want(prompt, since_ms, start, end, asyncio.get_running_loop().create_future())
        self._waiting.setdefault((topic, partition), []).append(want)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        return await want.done

    async def _serve(self) -> None:
        while self._waiting and self._is_open:
            place = next(iter(self._waiting))
            wants = self._waiting.pop(place)
            try:
                await asyncio.to_thread(self._pass, TopicPartition(*place), wants)
            except Exception as error:  # noqa: BLE001 — for whoever asked
                for want in wants:
                    if not want.done.done():
                        want.done.set_exception(error)
                continue
            for want in wants:
                if not want.done.done():
                    want.done.set_result(Found(want.records, want.end))

    # -- on a thread -----------------------------------------------------------------------------------------------

    def _pass(self, at: TopicPartition, wants: list[_Want]) -> None:
        self._bound(at, wants)
        wants = [want for want in wants if want.start < want.end]
        if not wants:
            return
        by_serial: dict[bytes, list[_Want]] = {}
        for want in wants:
            serial = want.prompt.envelope.serial
            if serial is not None:
                by_serial.setdefault(b"%d:%d" % serial, []).append(want)
        position, end = min(want.start for want in wants), max(want.end for want in wants)
        self._consumer.assign([TopicPartition(at.topic, at.partition, position)])
        try:
            while position < end and self._is_open:
                first = self._consumer.poll(POLL_SECONDS)
                if first is not None:
                    position = _sort((first, *self._consumer.consume(BATCH_RECORDS, 0)), by_serial, position)
        finally:
            self._consumer.unassign()

    def _bound(self, at: TopicPartition, wants: list[_Want]) -> None:
        """Say in offsets what was said in time."""
        looks = [want for want in wants if want.end < 0]
        if not looks:
            return
        place, since_ms = (at.topic, at.partition), min(want.since_ms or 0 for want in looks)
        start, end = self._lookup.since(place, since_ms), self._lookup.end(place)
        for want in looks:
            want.start, want.end = (end if start is None else start), end

    async def close(self) -> None:
        """Ends the pass that is under way; who waits for it is cancelled with the worker's tasks."""
        self._is_open = False
        if self._serving is not None:
            await self._serving
        self._consumer.close()


def _sort(batch: Iterable[Message], by_serial: dict[bytes, list[_Want]], position: int) -> int:
    """Give each record to the text that it is of; returns the offset behind the last."""
    for message in batch:
        error = message.error()
        if error is not None:
            if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                raise BrokerError(
                    f"{message.topic()} has lost records of texts that are being written: raise its retention.",
                    code="broker.offset",
                )
            continue
        offset = message.offset() or 0
        position = offset + 1
        headers = headers_of(message)
        wants = by_serial.get(next((value or b"" for name, value in headers if name == "serial"), b""))
        if wants is None:
            continue  # most of what lies here is of other requests: it is not even parsed
        try:
            envelope = parse_envelope(headers)
        except RecordError:
            continue
        for want in wants:
            if want.start <= offset < want.end and want.prompt.is_text_of(envelope):
                want.records.append((envelope, message.value()))
    return position
