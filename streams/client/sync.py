"""The client for code without an event loop: the same calls, which block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Final, Self, TypeVar

from streams.client.client import Client, Handle
from streams.client.events import Event
from streams.errors import BrokerError
from streams.flow import Pipeline
from streams.settings import KafkaSettings

T = TypeVar("T")


class SyncHandle:
    """One submitted request."""

    def __init__(self, handle: Handle, client: SyncClient) -> None:
        self.id: Final = handle.id
        self._handle: Final = handle
        self._client: Final = client

    def answer(self, wait_seconds: float | None = None) -> Any:
        """Wait for the answer. Raises AnswerError when it is an error, TimeoutError when none came in this time.

        Without `wait_seconds` it waits for ever if the pipeline does not run; else the request's deadline ends it.
        """
        return self._client._call(asyncio.wait_for(self._handle.answer(), wait_seconds))

    def events(self) -> Iterator[Event]:
        """Everything that the watched stages write for this request, then its Answer. For one reader."""
        events = aiter(self._handle.events())
        while True:
            try:
                yield self._client._call(anext(events))  # type: ignore[arg-type]  # an async generator's is a coroutine
            except StopAsyncIteration:
                return

    def cancel(self, reason: str = "") -> None:
        """Ask for the request to end; its answer is then the typed error `cancelled`, unless it was answered first."""
        self._client.cancel(self.id, reason)


class SyncClient:
    """A `Client` on an event loop of its own, in a thread of its own; threads may share it.

        with SyncClient(factcheck, KafkaSettings(bootstrap="localhost:9092")) as client:
            report = client.ask(Question(text="Tell me about Bolivia."))

    Raises BrokerError on entering when the pipeline's topics are not there yet.
    """

    def __init__(self, pipeline: Pipeline, kafka: KafkaSettings | None = None, *, watch: bool = False) -> None:
        """`watch`: read the stages' topics as well, for `events` and `stream`; without it only answers are read."""
        self._client: Final = Client(pipeline, kafka, watch=watch)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="client loop", daemon=True)
        self._thread.start()
        try:
            self._call(self._client.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call(self._client.__aexit__())
        finally:
            self._stop()

    def submit(
        self, request: Any, *, id: str | None = None, stream: bool = True, timeout_seconds: float | None = None
    ) -> SyncHandle:
        """As `Client.submit`: produce a request and return at once when the broker has it."""
        made = self._client.submit(request, id=id, stream=stream, timeout_seconds=timeout_seconds)
        return SyncHandle(self._call(made), self)

    def ask(self, request: Any, *, timeout_seconds: float | None = None) -> Any:
        """Submit and wait for the answer. Raises AnswerError when it is an error."""
        return self._call(self._client.ask(request, timeout_seconds=timeout_seconds))

    def stream(self, request: Any, *, timeout_seconds: float | None = None) -> Iterator[Event]:
        """Submit and yield what the stages write, then the Answer; needs `watch=True`."""
        yield from self.submit(request, timeout_seconds=timeout_seconds).events()

    def cancel(self, request_id: str, reason: str = "") -> None:
        """As `SyncHandle.cancel`."""
        self._call(self._client.cancel(request_id, reason))

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop; what stops the wait, as Ctrl-C does, stops the work as well."""
        if self._loop is None:
            work.close()
            raise BrokerError("the client is not connected: use it in a `with` block", code="broker.client")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _stop(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = None
