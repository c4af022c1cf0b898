"""How a transaction was decided whose end some of its partitions were never told.

Kafka's coordinator writes a marker to each partition of a transaction that ends. A partition that has no leader just
then may be left out, for good: whoever reads committed records reads no further there
(docs/decisions/killed-single-broker.md).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple, Self

TRANSACTION_HEADER: Final = "transaction"


class Stamp(NamedTuple):
    """Which transaction: on each of its records, and in the metadata of the offsets that went with it."""

    writer: str
    """The transactional id."""
    number: int
    """Of the writer's transactions."""

    def __str__(self) -> str:
        return f"{self.writer}/{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        writer, _, number = text.rpartition("/")
        if not writer:
            raise ValueError("not a transaction's stamp")
        return cls(writer, int(number))


def was_committed(stamp: Stamp, *, behind: Collection[Stamp], offsets: str, visible: Collection[Stamp]) -> bool:
    """Whether it may only be committed. Else nobody has seen anything of it, and it may only be aborted.

    behind    of the records behind its own, where it has no end
    offsets   the stamp in the metadata that the group has committed; empty where the group was not told the end either
    visible   of the committed records on the slot's other topic
    """
    if any(other.writer != stamp.writer for other in behind):
        return False  # the next writer began when this one's transaction was known to be aborted
    return offsets == str(stamp) or stamp in visible
