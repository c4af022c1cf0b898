"""The idempotency window: which ids have been answered, count-bounded, in some 40 bytes an id (PROTOCOL §9.5).

Python's own dictionary of hashes and offsets takes 320 bytes an id: 320 MB for a window of a million, and a closer that
grows for days. Here an id is a line in arrays, in the order of the answers, and a place in one of many hash tables with
open addressing. Many, because a table that has become full is made anew: each small enough to take no time.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from typing import Final

IDEMPOTENCY_WINDOW: Final = 1_000_000
"""Answered ids remembered per partition: an id repeated within it is the same request."""

NOT_WRITTEN: Final = -1

CHUNK_ENTRIES: Final = 4_096
TABLES: Final = 64
TABLE_PLACES_MIN: Final = 8
NUMBERS: Final = 0xFFFF_FFFF
"""A table's place holds 1 + the entry's number modulo this, or 0. A window has fewer entries, so that is enough."""


class _Chunk:
    """Entries in the order in which they were decided on."""

    __slots__ = ("accepted", "answers", "high", "low")

    def __init__(self) -> None:
        self.high: Final = array("Q", bytes(8 * CHUNK_ENTRIES))
        self.low: Final = array("Q", bytes(8 * CHUNK_ENTRIES))
        self.answers: Final = array("q", bytes(8 * CHUNK_ENTRIES))
        self.accepted: Final = array("q", bytes(8 * CHUNK_ENTRIES))


class _Table:
    __slots__ = ("places", "used")

    def __init__(self) -> None:
        self.places = array("I", bytes(4 * TABLE_PLACES_MIN))
        self.used = 0


class AnsweredIds:
    """Rebuilt after a takeover from the answers partition itself. Entries are numbered from the first one ever."""

    def __init__(self, size: int = IDEMPOTENCY_WINDOW) -> None:
        self._size: Final = size
        self._chunks: Final[deque[_Chunk]] = deque()
        self._tables: Final = [_Table() for _ in range(TABLES)]
        self._first_chunk = 0
        self._first = 0
        self._next = 0
        self._unwritten = 0
        """Entries whose transaction is not committed."""

    def take(self, request_id: str, accepted_offset: int) -> None:
        """The answer is decided on; where it will stand is not known before its transaction is committed."""
        high, low = _hash(request_id)
        if self._find(high, low) is None:
            self._add(high, low, NOT_WRITTEN, accepted_offset)
            self._unwritten += 1

    def written(self, request_id: str, answers_offset: int, accepted_offset: int) -> None:
        high, low = _hash(request_id)
        number = self._find(high, low)
        if number is None:
            self._add(high, low, answers_offset, accepted_offset)
        else:
            chunk, at = self._entry(number)
            self._unwritten -= chunk.answers[at] == NOT_WRITTEN
            chunk.answers[at], chunk.accepted[at] = answers_offset, max(chunk.accepted[at], accepted_offset)

    def repeated(self, request_id: str, accepted_offset: int) -> bool:
        """Whether it is an answered id; then it stays one until this record, too, is committed. A successor that has
        to decide on the record again decides the same."""
        number = self._find(*_hash(request_id))
        if number is None:
            return False
        chunk, at = self._entry(number)
        chunk.accepted[at] = max(chunk.accepted[at], accepted_offset)
        return True

    def __contains__(self, request_id: str) -> bool:
        return self._find(*_hash(request_id)) is not None

    def __len__(self) -> int:
        return self._next - self._first

    def forget(self, committed: int) -> None:
        """Drop the oldest beyond the size, but none whose accepted record can be read again.

        What is not written does not count: if its transaction is aborted, a successor that has to know the oldest
        finds it on `answers`, and `position` must not be behind it.
        """
        while len(self) - self._unwritten > self._size:
            chunk, at = self._entry(self._first)
            if chunk.accepted[at] >= committed or chunk.answers[at] == NOT_WRITTEN:
                return
            self._remove(chunk.high[at], chunk.low[at], self._first)
            self._first += 1
            if self._first == (self._first_chunk + 1) * CHUNK_ENTRIES:
                self._chunks.popleft()
                self._first_chunk += 1

    def position(self, default: int) -> int:
        """Where a successor starts to read `answers`; `default` is the next offset there. Answers are written in the
        order in which they were decided, so the first entry stands lowest."""
        if not len(self):
            return default
        chunk, at = self._entry(self._first)
        return default if chunk.answers[at] == NOT_WRITTEN else chunk.answers[at]

    # -- entries ---------------------------------------------------------------------------------------------------

    def _entry(self, number: int) -> tuple[_Chunk, int]:
        return self._chunks[number // CHUNK_ENTRIES - self._first_chunk], number % CHUNK_ENTRIES

    def _add(self, high: int, low: int, answers: int, accepted: int) -> None:
        number = self._next
        self._next += 1
        if number // CHUNK_ENTRIES - self._first_chunk == len(self._chunks):
            self._chunks.append(_Chunk())
        chunk, at = self._entry(number)
        chunk.high[at], chunk.low[at], chunk.answers[at], chunk.accepted[at] = high, low, answers, accepted
        table = self._tables[low % TABLES]
        if 3 * (table.used + 1) > 2 * len(table.places):
            self._enlarge(table)
        table.used += 1
        self._place(table.places, low, number)

    # -- tables ----------------------------------------------------------------------------------------------------

    def _number(self, place: int) -> int:
        """Of the entry that a place names: the only one in the window with this remainder."""
        return self._first + (place - 1 - self._first) % NUMBERS

    def _find(self, high: int, low: int) -> int | None:
        places = self._tables[low % TABLES].places
        mask = len(places) - 1
        i = low // TABLES & mask
        while place := places[i]:
            number = self._number(place)
            chunk, at = self._entry(number)
            if chunk.low[at] == low and chunk.high[at] == high:
                return number
            i = i + 1 & mask
        return None

    @staticmethod
    def _place(places: array[int], low: int, number: int) -> None:
        mask = len(places) - 1
        i = low // TABLES & mask
        while places[i]:
            i = i + 1 & mask
        places[i] = 1 + number % NUMBERS

    def _enlarge(self, table: _Table) -> None:
        old, table.places = table.places, array("I", bytes(8 * len(table.places)))
        for place in old:
            if place:
                number = self._number(place)
                chunk, at = self._entry(number)
                self._place(table.places, chunk.low[at], number)

    def _remove(self, high: int, low: int, number: int) -> None:
        """Leave no hole: whoever stands behind it, and not where it wants to, moves up."""
        table = self._tables[low % TABLES]
        places, mask = table.places, len(table.places) - 1
        table.used -= 1
        hole = low // TABLES & mask
        while places[hole] != 1 + number % NUMBERS:
            hole = hole + 1 & mask
        i = hole
        while True:
            i = i + 1 & mask
            if not places[i]:
                break
            chunk, at = self._entry(self._number(places[i]))
            wanted = chunk.low[at] // TABLES & mask
            if (i - wanted & mask) >= (i - hole & mask):
                places[hole], hole = places[i], i
        places[hole] = 0


def _hash(request_id: str) -> tuple[int, int]:
    digest = hashlib.blake2b(request_id.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8]), int.from_bytes(digest[8:])
