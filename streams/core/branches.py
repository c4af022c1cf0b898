"""What lies below one node on one Stream input: which children came, how many there are, what comes next."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

from streams.core.lineage import Path
from streams.core.record import Kind
from streams.core.view import Held


class Next(enum.Enum):
    WAIT = enum.auto()
    OVER = enum.auto()


class Branches:
    """Children of a fork, or of forks inside it, collected for one node. Every step is O(1) in the children."""

    def __init__(self, node: Path, levels: int) -> None:
        """`levels`: fork levels between the node and the items, at least 1."""
        self._node: Final = node
        self._levels: Final = levels
        self._done: Final[dict[Path, Held]] = {}  # leaves, and whole subtrees that ended as a tombstone or an error
        self._counts: Final[dict[Path, int]] = {}
        self._orphans: Final[dict[Path, int]] = {}  # resolved children of a fork whose end has not come
        self._outstanding = 1
        self.arrived: Final[list[Held]] = []

    def add(self, held: Held) -> None:
        """Take a current record: a child that ended, or the end of a fork. The caller keeps duplicates away."""
        path = held.envelope.path
        if held.envelope.kind is Kind.END:
            self._counts[path] = held.envelope.total
            self._outstanding += held.envelope.total - self._orphans.pop(path, 0)
        else:
            self._done[path] = held
            self.arrived.append(held)
        if path == self._node or path[:-1] in self._counts:
            self._outstanding -= 1
        else:
            self._orphans[path[:-1]] = self._orphans.get(path[:-1], 0) + 1

    @property
    def is_complete(self) -> bool:
        """Every fork has its end and every child that it counts has ended."""
        return self._outstanding == 0

    @property
    def children(self) -> int:
        return len(self.arrived)

    def in_order(self) -> Iterator[Held | Next]:
        """Walk the children in index order; yields WAIT (again and again) where the next one has not come."""
        yield from self._walk(self._node, self._levels)
        while True:
            yield Next.OVER

    def _walk(self, fork: Path, levels: int) -> Iterator[Held | Next]:
        index = 0
        while True:
            count = self._counts.get(fork)
            if count is not None and index >= count:
                return
            child = (*fork, index)
            held = self._done.get(child)
            if held is not None:
                yield held
            elif levels > 1 and self._has_begun(child):
                yield from self._walk(child, levels - 1)
            else:
                yield Next.WAIT
                continue
            index += 1

    def _has_begun(self, fork: Path) -> bool:
        return fork in self._counts or fork in self._orphans

    def as_they_come(self) -> Iterator[Held | Next]:
        """Walk the children in order of arrival."""
        index = 0
        while True:
            if index < len(self.arrived):
                index += 1
                yield self.arrived[index - 1]
            else:
                yield Next.OVER if self.is_complete else Next.WAIT
