"""Something that a stage's runs share and that lives as long as its process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Generic, TypeVar

from streams.access import Access
from streams.errors import ConfigError
from streams.settings import KafkaSettings

T = TypeVar("T")


class Resource(Generic[T]):
    """A connection, a cache, a model that is kept current: opened before the stage takes its first record.

        verifier = Resource(open_verifier)  # KafkaSettings -> async context manager

        @factcheck.stage(uses=[verifier])
        def verdict(claim: Claim) -> Verdict:
            return judge(claim, verifier.value)

    Each process that runs a stage which uses it opens it once, with the Kafka of the process, and closes it when the
    stage has left. What opening raises keeps the process from starting. What it must be allowed in Kafka it may say as
    an attribute `access`, for `descant acls`.
    """

    def __init__(self, open: Callable[[KafkaSettings], AbstractAsyncContextManager[T]]) -> None:
        self._open: Final = open
        self.access: Final[frozenset[Access]] = getattr(open, "access", frozenset())
        self._opened: Final[list[T]] = []

    @property
    def value(self) -> T:
        """What was opened. Raises ConfigError outside of a process that runs such a stage."""
        if not self._opened:
            raise ConfigError(
                "a resource is used that nobody has opened. Name it in the stage's decorator: "
                "@pipeline.stage(uses=[...]).",
                code="resource.closed",
            )
        return self._opened[-1]

    @asynccontextmanager
    async def opened(self, kafka: KafkaSettings) -> AsyncIterator[T]:
        """For the runtime, and for tests of a stage's function."""
        async with self._open(kafka) as value:
            self._opened.append(value)
            try:
                yield value
            finally:
                self._opened.remove(value)
