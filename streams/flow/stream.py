"""`Stream[T]`: what a join is given, and what a consumer of a text is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from typing import Generic, TypeVar

from streams.errors import StageError
from streams.flow.values import Chunk

T_co = TypeVar("T_co", covariant=True)


class Stream(ABC, Generic[T_co]):
    """All items below one node, each handed over as soon as it is here; it ends when the last one has ended.

    Iterate it with `async for`: by child index, so that the result does not depend on who was faster.
    Filtered items are skipped. The runtime may close the stage while it waits here, when what it was given is
    superseded.
    """

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[T_co]:
        """Items in index order; a text in token order. Each call starts again at the first."""

    @abstractmethod
    def unordered(self) -> AsyncIterator[T_co]:
        """Items in the order in which they arrive, for results that do not depend on it; a text stays in
        order."""

    async def collect(self) -> list[T_co]:
        """Wait for the end; all items in index order."""
        return [item async for item in self]

    async def text(self) -> str:
        """Wait for the end of a text and return the whole of it. Raises StageError on a stream of
        anything else."""
        parts: list[str] = []
        async for item in self:
            match item:
                case str():
                    parts.append(item)
                case Chunk():
                    parts.append(item.text)
                case _:
                    raise StageError(
                        f"this stream gives {type(item).__name__} items, not text: use collect()",
                        code="stage.not-text",
                    )
        return "".join(parts)

    @classmethod
    def of(cls, items: Iterable[T_co]) -> Stream[T_co]:
        """A stream of items that are already here, to call a stage with in a test."""
        return _Ready(items)


class _Ready(Stream[T_co]):
    def __init__(self, items: Iterable[T_co]) -> None:
        self._items = tuple(items)

    async def __aiter__(self) -> AsyncIterator[T_co]:
        for item in self._items:
            yield item

    def unordered(self) -> AsyncIterator[T_co]:
        return aiter(self)
