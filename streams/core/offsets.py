"""What a slot may commit: offsets below which every request is closed, and the metadata beside them (PROTOCOL §6)."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from streams.core.lineage import Serial

METADATA_BYTES_MAX: Final = 4_000
"""The broker refuses 4,096 (`offset.metadata.max.bytes`); the rest is room for a longer epoch or position."""

MARK_BYTES: Final = 8

MARKS_MAX: Final = METADATA_BYTES_MAX * 3 // 4 // MARK_BYTES
"""That one commit has room for."""


class OpenOffsets:
    """One input partition: the first record of each open request. O(1) a record."""

    def __init__(self, position: int) -> None:
        self.position = position
        """Next to be read."""
        self._first: Final[OrderedDict[Serial, int]] = (
            OrderedDict()
        )  # a plain dict slows down when eaten from the front

    def saw(self, offset: int, serial: Serial | None) -> None:
        """A record was read; `serial` is None when its request is closed already."""
        self.position = offset + 1
        if serial is not None and serial not in self._first:
            self._first[serial] = offset

    def close(self, serial: Serial) -> None:
        self._first.pop(serial, None)

    @property
    def committable(self) -> int:
        return next(iter(self._first.values()), self.position)


@dataclass(frozen=True, slots=True)
class SlotMetadata:
    """What a slot keeps in the metadata of its home partition's committed offset."""

    epoch: int
    answers_position: int | None = None
    """Of a closer: where its successor starts to read `answers` (PROTOCOL §9.5)."""
    marks: tuple[bytes, ...] = field(default=())
    """Selections that were finished, newest first."""
    stamp: str = ""
    """Of a closer: the transaction that these offsets went with (`streams.core.hanging`)."""

    def encode(self) -> str:
        position = "" if self.answers_position is None else str(self.answers_position)
        head, tail = f"1;{self.epoch};{position};", f";{self.stamp}" if self.stamp else ""
        room = (METADATA_BYTES_MAX - len(head) - len(tail)) // 4 * 3 // MARK_BYTES
        return head + base64.b64encode(b"".join(self.marks[:room])).decode("ascii") + tail


def decode_metadata(text: str | None) -> SlotMetadata | None:
    """None when there is none, or it is not ours (an operator's tool reset the offsets)."""
    parts = (text or "").split(";")
    if len(parts) not in (4, 5) or parts[0] != "1":
        return None
    try:
        raw = base64.b64decode(parts[3], validate=True)
        position = int(parts[2]) if parts[2] else None
        marks = tuple(raw[i : i + MARK_BYTES] for i in range(0, len(raw), MARK_BYTES))
        return SlotMetadata(int(parts[1]), position, marks, "".join(parts[4:]))
    except ValueError:
        return None


class Marks:
    """Finished selections of open requests, newest first when written."""

    def __init__(self, inherited: Iterable[bytes]) -> None:
        self._marks: Final[OrderedDict[bytes, None]] = OrderedDict.fromkeys(reversed(tuple(inherited)))

    def __contains__(self, mark: bytes) -> bool:
        return mark in self._marks

    def add(self, mark: bytes) -> None:
        self._marks[mark] = None
        self._marks.move_to_end(mark)

    def discard(self, mark: bytes) -> None:
        self._marks.pop(mark, None)

    def keep_only(self, marks: set[bytes]) -> None:
        for mark in [m for m in self._marks if m not in marks]:
            del self._marks[mark]

    def newest(self, count: int = MARKS_MAX) -> tuple[bytes, ...]:
        found: list[bytes] = []
        for mark in reversed(self._marks):
            if len(found) == count:
                break
            found.append(mark)
        return tuple(found)
