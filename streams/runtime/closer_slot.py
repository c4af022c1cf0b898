"""One accepted partition of the closer: what came decides how requests end; what is decided is composed for the log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from confluent_kafka import Message

from streams import metrics
from streams.core.answered import AnsweredIds
from streams.core.branches import Next
from streams.core.closer import Close, Closer
from streams.core.control import ControlEntry
from streams.core.effects import Effect, Emit, Reject, Run, Start, Value, Wake
from streams.core.failure import Failure
from streams.core.group import Shape
from streams.core.hanging import TRANSACTION_HEADER, Stamp
from streams.core.lineage import Serial
from streams.core.offsets import SlotMetadata
from streams.core.plan import REQUEST
from streams.core.record import Envelope, Kind, parse_envelope
from streams.core.slot import Slot
from streams.errors import RecordError
from streams.runtime.consumer import headers_of
from streams.runtime.services import Services
from streams.runtime.topics import answers_topic, control_topic
from streams.runtime.transaction import OutRecord
from streams.tracing import Tracing, current

ROLE: Final = "closer"


class CloserSlot:
    """One accepted partition: the core slot that joins, the core closer that decides, and what is being written."""

    def __init__(
        self,
        services: Services,
        shape: Shape,
        partition: int,
        metadata: SlotMetadata,
        positions: dict[int, int],
        answered: AnsweredIds,
        answers_end: int,
        decide: Callable[[CloserSlot, Close], None],
    ) -> None:
        self._services: Final = services
        self._shape: Final = shape
        self.partition: Final = partition
        self._closed: Final = services.follower.state.of(partition)
        self._closer: Final = Closer(self._closed, answered)
        self._closer.position = positions[shape.sources.index(REQUEST)]
        self._slot: Final = Slot(
            shape,
            partition,
            metadata=metadata,
            positions=positions,
            next_n=services.next_n,
            is_closed=self._is_closed,
        )
        self._answers_end = answers_end
        self._decide: Final = decide
        self._composed: Final[dict[int, OutRecord | None]] = {}
        self._stamp = metadata.stamp
        self._accepted_at: Final[dict[int, int]] = {}
        self._tracing: Final = current()
        self._traceparents: Final[dict[int, str]] = {}
        self._answer_seconds: Final = metrics.ANSWER_SECONDS.labels(services.plan.pipeline)
        self._message: Message | None = None
        self.is_dropped = False

    @property
    def open_count(self) -> int:
        return self._closer.open_count

    def _is_closed(self, serial: Serial) -> bool:
        if serial.partition == self.partition:
            return self._closer.is_closed(serial.offset)
        return self._services.follower.state.is_closed(serial)

    # -- SlotState -------------------------------------------------------------------------------------------------

    def record(self, source: int, message: Message) -> None:
        offset = message.offset() or 0
        self._message = message
        try:
            envelope = parse_envelope(headers_of(message))
        except RecordError as error:
            self._slot.offsets[source].saw(offset, None)
            self._services.dead_letter(message, ROLE, Failure(error.code, str(error), ROLE))
            return
        if self._shape.sources[source] == REQUEST:
            for close in self._closer.accepted(offset, envelope, message.value()):
                self._end(close)
            if envelope.kind is Kind.ITEM and not self._closer.is_closed(offset):
                self._accepted_at[offset] = message.timestamp()[1]
                if self._tracing is not None and envelope.traceparent:
                    self._traceparents[offset] = envelope.traceparent
            self._apply(self._slot.record(source, offset, envelope, message.value()))
        elif envelope.serial is not None and envelope.serial.partition != self.partition:
            self._slot.offsets[source].saw(offset, None)
            failure = Failure("record.partition", "the record's request lives on another partition", ROLE)
            self._services.dead_letter(message, ROLE, failure)
        else:
            self._apply(self._slot.record(source, offset, envelope, message.value()))

    def caught_up(self) -> None:
        self._apply(self._slot.caught_up())

    def due(self, now_ms: int) -> None:
        for close in self._closer.due(now_ms):
            self._end(close)

    def committable(self) -> tuple[dict[int, int], SlotMetadata]:
        offsets, metadata = self._slot.committable()
        accepted = self._shape.sources.index(REQUEST)
        offsets[accepted] = min(offsets[accepted], self._closer.committable)
        self._closer.answered.forget(offsets[accepted])
        position = self._closer.answered.position(self._answers_end)
        return offsets, SlotMetadata(metadata.epoch, position, stamp=self._stamp)

    def drop(self) -> None:
        self.is_dropped = True

    # -- deciding --------------------------------------------------------------------------------------------------

    def _apply(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Start(run) | Wake(run):
                    if run.node.group.is_complete:
                        self._apply(self._slot.returned(run, Value(self._value(run))))
                case Emit(envelope=envelope, value=value) if envelope.serial is not None:
                    for close in self._closer.answer(envelope.serial.offset, self._as_answer(envelope), value):
                        self._end(close)
                case Reject(envelope=envelope, error=error) if self._message is not None:
                    self._services.reject(self._message, ROLE, envelope, error)
                case _:
                    pass  # nothing runs here that could be stopped, and no prompt is routed

    def _value(self, run: Run) -> bytes:
        group = run.node.group
        if not self._shape.streams:
            return group.plain(1).value or b"null"
        parts = []
        for piece in group.pieces(1):
            if isinstance(piece, Next):
                break
            parts.append(piece.text)
        return json.dumps("".join(parts), ensure_ascii=False).encode()

    def _as_answer(self, envelope: Envelope) -> Envelope:
        """As the terminal stage's own: clients that watched the stream know its lineage."""
        return envelope._replace(stage=self._services.plan.answer, lin=envelope.lin[:-1])

    def _end(self, close: Close) -> None:
        """The slot keeps what it holds of the request, and so its offsets, until a transaction writes its end."""
        self._decide(self, close)

    # -- writing ---------------------------------------------------------------------------------------------------

    def compose(self, closes: Sequence[Close], stamp: Stamp) -> list[OutRecord]:
        """The records that end these requests: their answers, where they have one, and their control entries.

        From here on `committable` is beyond them: it goes out in the same transaction, which `stamp` names."""
        self._stamp = str(stamp)
        for close in closes:
            self._closer.covered(close)
            self._apply(self._slot.closed(Serial(self.partition, close.offset)))
        low = self._closer.committable
        since = self._closed.since(low)
        return [record for close in closes for record in self._compose(close, low, since)]

    def _compose(self, close: Close, low: int, since: int) -> Iterator[OutRecord]:
        pipeline = self._services.plan.pipeline
        stamped = (TRANSACTION_HEADER, self._stamp.encode())
        answer = None
        if close.envelope is not None:
            envelope = close.envelope._replace(serial=Serial(self.partition, close.offset))
            headers = [*envelope.headers(), stamped]
            answer = OutRecord(answers_topic(pipeline), self.partition, close.id, close.value, headers)
            yield answer
        self._composed[close.offset] = answer
        entry = ControlEntry(close.offset, close.reason, low, since)
        yield OutRecord(control_topic(pipeline), self.partition, close.id, entry.encode(), [stamped])

    def written(self, close: Close) -> None:
        answer = self._composed.pop(close.offset)
        metrics.CLOSED.labels(self._services.plan.pipeline, close.reason).inc()
        since = self._accepted_at.pop(close.offset, None)
        if since is not None:
            self._answer_seconds.observe(max(0.0, time.time() - since / 1000))
            if self._tracing is not None:
                self._trace(self._tracing, close, since / 1000)
        if answer is not None:
            self._closer.answered.written(close.id, answer.offset, close.offset)
            self._answers_end = max(self._answers_end, answer.offset + 1)

    def _trace(self, tracing: Tracing, close: Close, since: float) -> None:
        """The whole request, from its acceptance until its answer was committed."""
        pipeline = self._services.plan.pipeline
        attributes = {"descant.pipeline": pipeline, "descant.request": close.id, "descant.reason": close.reason}
        parent = self._traceparents.pop(close.offset, "")
        span = tracing.below(parent, f"{pipeline}.answer", attributes, since=since)
        if span is not None:
            span.end()
