"""Ask a pipeline, watch what it writes meanwhile, cancel."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any, Final, Self

from pydantic import TypeAdapter

from streams.client.events import Answer, AnswerError, Event, Item, Text, TextEnd
from streams.client.reader import Reader
from streams.core.failure import decode_failure
from streams.core.plan import Plan, StageKind
from streams.core.record import Envelope, Headers, Kind
from streams.core.text import decode_piece
from streams.errors import BrokerError
from streams.flow import Pipeline
from streams.runtime.producer import LoopProducer
from streams.runtime.tasks import Tasks
from streams.runtime.topics import answers_topic, requests_topic
from streams.settings import KafkaSettings
from streams.tracing import callers_traceparent


class Handle:
    """One submitted request."""

    def __init__(self, request_id: str, client: Client, adapters: dict[str, TypeAdapter[Any]]) -> None:
        self.id: Final = request_id
        self._client: Final = client
        self._adapters: Final = adapters
        self._events: Final[asyncio.Queue[Event | BaseException]] = asyncio.Queue()
        self._answer: Final[asyncio.Future[Answer]] = asyncio.get_running_loop().create_future()
        self._since: Final = time.monotonic()

    async def answer(self) -> Any:
        """Wait for the answer. Raises AnswerError when it is an error, BrokerError when none can be read any more."""
        answer = await asyncio.shield(self._answer)
        if answer.error is not None:
            raise answer.error
        return answer.value

    async def events(self) -> AsyncIterator[Event]:
        """Everything that the watched stages write for this request, then its Answer. For one reader.

        Raises BrokerError when they cannot be read any more.
        """
        while True:
            event = await self._events.get()
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, Answer):
                return

    async def cancel(self, reason: str = "") -> None:
        """Ask for the request to end; its answer is then the typed error `cancelled`, unless it was answered first.

        reason   becomes the error's message; at most 500 characters
        """
        await self._client.cancel(self.id, reason)

    def fail(self, error: BaseException) -> None:
        """Nothing more can be read."""
        self._events.put_nowait(error)
        if not self._answer.done():
            self._answer.set_exception(error)
            self._answer.exception()  # seen: perhaps only events are waited for

    def answered(self, envelope: Envelope, value: bytes | None) -> Answer:
        """`answer` returns; `events` does so with `end`."""
        answer = self._read_answer(envelope, value, time.monotonic() - self._since)
        if not self._answer.done():
            self._answer.set_result(answer)
        return answer

    def end(self, answer: Answer) -> None:
        self._events.put_nowait(answer)

    def take(self, source: str, envelope: Envelope, value: bytes | None) -> None:
        """The next record of this request from stage `source`."""
        at = time.monotonic() - self._since
        run = envelope.lin[-1] if envelope.lin else None
        if envelope.stage != source or run is None:
            return  # a marker passed on by a stage in between
        match envelope.kind:
            case Kind.CHUNK:
                piece = decode_piece(envelope.position, value)
                self._events.put_nowait(Text(source, envelope.path, piece.position, piece.text, run, at))
            case Kind.END if envelope.w is not None:
                self._events.put_nowait(TextEnd(source, envelope.path, envelope.total, run, at))
            case Kind.ITEM:
                item = self._adapters[source].validate_json(value or b"null")
                self._events.put_nowait(Item(source, envelope.path, item, run, at))
            case _:
                pass

    def _read_answer(self, envelope: Envelope, value: bytes | None, at: float) -> Answer:
        if envelope.kind is Kind.ERROR:
            failure = decode_failure(value)
            return Answer(None, AnswerError(failure.code, failure.stage, failure.message, self.id), at)
        return Answer(self._adapters[""].validate_json(value or b"null"), None, at)


class Client:
    """A connection to one pipeline; it watches from the moment it is entered.

        async with Client(factcheck, KafkaSettings(bootstrap="localhost:9092")) as client:
            report = await client.ask(Question(text="Tell me about Bolivia."))

    Raises BrokerError on entering when the pipeline's topics are not there yet, or may not be read; and at every call
    once they may not be read any more.
    """

    def __init__(self, pipeline: Pipeline, kafka: KafkaSettings | None = None, *, watch: bool = False) -> None:
        """`watch`: read the stages' topics as well, for `Handle.events`; without it only answers are read."""
        self._plan: Final[Plan] = pipeline.plan
        self._kafka: Final = kafka or KafkaSettings()
        self._request: Final = TypeAdapter[Any](self._plan.request_type)
        self._adapters: Final = {
            "": TypeAdapter[Any](self._plan.answer_type),
            **{s.name: TypeAdapter[Any](s.output_type) for s in self._plan.stages if s.kind is not StageKind.MODEL},
        }
        self._watched: Final = [s.name for s in self._plan.stages] if watch else []
        self._handles: Final[dict[str, Handle]] = {}
        self._sources: Final = {answers_topic(self._plan.pipeline): ""} | {
            self._plan.topic(name): name for name in self._watched
        }
        self._reader: Reader | None = None
        self._producer: LoopProducer | None = None
        self._failed: BaseException | None = None
        self._tasks: Final = Tasks(self._fail)

    async def __aenter__(self) -> Self:
        self._reader = Reader(self._kafka, list(self._sources), self._handles.__contains__, self._take, self._fail)
        await self._reader.start()
        self._producer = LoopProducer(self._kafka, self._fail)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._producer is not None:
            await self._producer.close()
        await self._tasks.close()
        if self._reader is not None:
            await self._reader.close()

    async def submit(
        self,
        request: Any,
        *,
        id: str | None = None,
        stream: bool = True,
        timeout_seconds: float | None = None,
        traceparent: str | None = None,
    ) -> Handle:
        """Produce a request and return at once when the broker has it.

        id               the same id within the idempotency window is the same request and is answered once
        stream           False: stages wait for whole outputs of the ones before, as pipelines usually do
        timeout_seconds  the request's deadline, by default the pipeline's
        traceparent      W3C trace context; by default that of the OpenTelemetry span that the caller is in
        Raises pydantic.ValidationError when the request does not fit, BrokerError when it cannot be produced.
        """
        self._check()
        value = self._request.dump_json(self._request.validate_python(request))
        request_id = id or uuid.uuid4().hex
        handle = self._handles[request_id] = Handle(request_id, self, self._adapters)
        headers: Headers = [] if stream else [("hold", b"1")]
        if parent := traceparent or callers_traceparent():
            headers.append(("traceparent", parent.encode()))
        if timeout_seconds is not None:
            headers.append(("timeout-ms", b"%d" % int(timeout_seconds * 1000)))
        await self._produce(request_id, value, headers)
        return handle

    async def ask(self, request: Any, *, timeout_seconds: float | None = None) -> Any:
        """Submit and wait for the answer. Raises AnswerError when it is an error."""
        return await (await self.submit(request, timeout_seconds=timeout_seconds)).answer()

    async def stream(self, request: Any, *, timeout_seconds: float | None = None) -> AsyncIterator[Event]:
        """Submit and yield what the stages write, then the Answer; needs `watch=True`."""
        handle = await self.submit(request, timeout_seconds=timeout_seconds)
        async for event in handle.events():
            yield event

    async def cancel(self, request_id: str, reason: str = "") -> None:
        """As `Handle.cancel`."""
        self._check()
        headers: Headers = [("kind", b"cancel")]
        if reason:
            headers.append(("reason", reason.encode()))
        await self._produce(request_id, None, headers)

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    async def _produce(self, request_id: str, value: bytes | None, headers: Headers) -> None:
        if self._producer is None:
            raise BrokerError("the client is not connected: use it in an `async with` block", code="broker.client")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def delivered(error: object, _: object) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(BrokerError(f"Kafka refused the request: {error}", code="broker.refused"))

        topic = requests_topic(self._plan.pipeline)
        self._producer.send(topic, request_id, value, headers, delivered)
        await done

    def _take(self, topic: str, envelope: Envelope, value: bytes | None) -> None:
        handle = self._handles.get(envelope.id)
        if handle is None:
            return
        if source := self._sources[topic]:
            handle.take(source, envelope, value)
        elif self._watched:
            self._tasks.spawn(self._end(handle, handle.answered(envelope, value)))
        else:
            handle.end(handle.answered(envelope, value))
            del self._handles[handle.id]

    async def _end(self, handle: Handle, answer: Answer) -> None:
        """Events end with the answer, also where it was read before what it rests on."""
        assert self._reader is not None  # noqa: S101 it has read the answer
        try:
            await self._reader.caught_up([topic for topic, source in self._sources.items() if source])
        finally:
            if self._handles.get(handle.id) is handle:  # the same id may have been asked again meanwhile
                del self._handles[handle.id]
            handle.end(answer)

    def _fail(self, error: BaseException) -> None:
        self._failed = error
        for handle in self._handles.values():
            handle.fail(error)
        self._handles.clear()
