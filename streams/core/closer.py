"""The closer of one accepted partition: it alone decides how a request ends (PROTOCOL §9.3–9.5).

The first of answer, error, failure, cancel and deadline wins. Decisions are taken here; the runtime writes each batch
of them in one transaction and may not decide again on anything that an unresolved transaction holds.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streams.core.answered import AnsweredIds
from streams.core.control import ClosedRequests
from streams.core.failure import Failure, decode_failure
from streams.core.record import Envelope, Kind


@dataclass(frozen=True, slots=True)
class Close:
    """A request ends. `envelope` and `value` are the answer record, or None for a duplicate, which gets none, and for
    a record that is no request (`taken`)."""

    offset: int
    reason: str
    id: str
    envelope: Envelope | None = None
    value: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Open:
    envelope: Envelope


class Closer:
    def __init__(self, closed: ClosedRequests, answered: AnsweredIds) -> None:
        self.answered: Final = answered
        self._closed: Final = closed
        self._open: Final[OrderedDict[int, _Open]] = OrderedDict()
        self._by_id: Final[dict[str, int]] = {}
        self._deadlines: Final[list[tuple[int, int]]] = []
        self._unwritten: Final[set[int]] = set()
        self._early: Final[dict[int, tuple[Envelope, bytes | None]]] = {}
        """Answers of requests that are not read yet: other partitions may be ahead of `accepted`."""
        self.position = closed.low

    @property
    def low(self) -> int:
        """The lowest open accepted offset, or the position."""
        return next(iter(self._open), self.position)

    @property
    def committable(self) -> int:
        """The accepted offset that may be committed: below it everything is closed, by a transaction or by the one
        that is being composed. The slot alone does not know of cancels and of requests that ingress refused. It is
        also the `low` of the entries that the transaction writes to `control`."""
        return min((self.low, *self._unwritten))

    def covered(self, close: Close) -> None:
        """The transaction that is being composed writes this: its offsets may pass it."""
        self._unwritten.discard(close.offset)

    @property
    def open_count(self) -> int:
        return len(self._open)

    def is_closed(self, offset: int) -> bool:
        """Decided on, written or not: what the closer's own slot must go by. `control` says it later, and a record
        that came in between would be taken for the first of its group."""
        return offset in self._closed or (offset < self.position and offset not in self._open)

    def accepted(self, offset: int, envelope: Envelope, value: bytes | None) -> Iterator[Close]:
        """Take the next record of the accepted partition."""
        self.position = offset + 1
        if offset in self._closed:
            return
        match envelope.kind:
            case Kind.ITEM | Kind.ERROR:
                yield from self._request(offset, envelope, value)
            case Kind.CANCEL:
                found = self._by_id.get(envelope.id)
                if found is not None:
                    failure = decode_failure(value) if value else Failure("cancelled", "the request was cancelled")
                    yield from self.fail(found, "cancelled", failure)
            case Kind.FAIL if envelope.serial is not None:
                yield from self.fail(envelope.serial.offset, "failed", decode_failure(value))
            case _:
                pass
        early = self._early.pop(offset, None)
        if early is not None:
            yield from self.answer(offset, *early)
        if envelope.kind not in (Kind.ITEM, Kind.ERROR):
            # It takes a place in the admission window, and nothing else would ever say that the place is free.
            yield self._close(offset, "taken", envelope.id)

    def _request(self, offset: int, envelope: Envelope, value: bytes | None) -> Iterator[Close]:
        if envelope.id in self._by_id or self.answered.repeated(envelope.id, offset):
            yield self._close(offset, "duplicate", envelope.id)
            return
        self._open[offset] = _Open(envelope)
        self._by_id[envelope.id] = offset
        heapq.heappush(self._deadlines, (envelope.deadline, offset))
        if envelope.kind is Kind.ERROR:
            yield from self.fail(offset, "error", decode_failure(value))

    def answer(self, offset: int, envelope: Envelope, value: bytes | None) -> Iterator[Close]:
        """The terminal stage gave the request's value, or an error or tombstone in its place."""
        if offset >= self.position and offset not in self._closed:
            self._early[offset] = (envelope, value)
            return
        match envelope.kind:
            case Kind.ERROR:
                yield from self.fail(offset, "error", decode_failure(value), envelope)
            case Kind.TOMBSTONE:
                dropped = Failure("dropped", "a stage dropped the whole request", envelope.stage)
                yield from self.fail(offset, "error", dropped, envelope)
            case _:
                if self._take(offset) is not None:
                    yield self._close(offset, "answered", envelope.id, envelope, value)

    def due(self, now_ms: int) -> Iterator[Close]:
        """End requests whose deadline has passed, by the closer's clock alone."""
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _, offset = heapq.heappop(self._deadlines)
            yield from self.fail(offset, "deadline", Failure("deadline", "no answer before the request's deadline"))

    @property
    def next_deadline(self) -> int | None:
        return self._deadlines[0][0] if self._deadlines else None

    def fail(self, offset: int, reason: str, failure: Failure, envelope: Envelope | None = None) -> Iterator[Close]:
        found = self._take(offset)
        if found is not None:
            answer = (envelope or found.envelope)._replace(kind=Kind.ERROR)
            yield self._close(offset, reason, answer.id, answer, failure.encode(answer.id))

    def _close(
        self, offset: int, reason: str, request_id: str, envelope: Envelope | None = None, value: bytes | None = None
    ) -> Close:
        self._unwritten.add(offset)
        return Close(offset, reason, request_id, envelope, value)

    def _take(self, offset: int) -> _Open | None:
        found = self._open.pop(offset, None)
        if found is not None:
            del self._by_id[found.envelope.id]
            if len(self._deadlines) > 2 * len(self._open) + 64:  # long deadlines of requests that were answered at once
                self._deadlines[:] = [entry for entry in self._deadlines if entry[1] in self._open]
                heapq.heapify(self._deadlines)
            # The id stays taken while the transaction is on its way: a repetition read meanwhile is a duplicate.
            self.answered.take(found.envelope.id, offset)
        return found
