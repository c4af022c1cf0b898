"""One pipeline, live: reads its topics, submits and cancels, and keeps trying while its topics are not there."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict
from functools import partial
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import TypeAdapter

from console.errors import GatewayError
from console.state.channel import Channel, Subscription
from console.state.events import AnswerEvent, Opened, RequestEvent, Summary
from console.state.live import Live, LiveRequests
from streams.client import Client
from streams.client.reader import Reader
from streams.core.plan import REQUEST, Plan
from streams.core.record import Envelope
from streams.errors import BrokerError
from streams.flow import Pipeline
from streams.runtime.tasks import Tasks, fail
from streams.runtime.topics import answers_topic
from streams.settings import KafkaSettings

RETRY_SECONDS: Final = 2.0
CALL_SECONDS: Final = 3.0

log = structlog.get_logger(__name__)


class Feed:
    """Start it with `start`; until it `is_connected`, it knows nothing and takes nothing."""

    def __init__(self, pipeline: Pipeline, kafka: KafkaSettings, keep: int) -> None:
        self.plan: Final[Plan] = pipeline.plan
        self.request: Final = TypeAdapter[Any](self.plan.request_type)
        self.summaries: Final[Channel[Summary]] = Channel()
        self.live: Final = LiveRequests(self.plan, keep)
        self._pipeline: Final = pipeline
        self._kafka: Final = kafka
        self._channels: Final[defaultdict[str, Channel[RequestEvent]]] = defaultdict(Channel)
        self._sources: Final = {
            answers_topic(self.plan.pipeline): "",
            self.plan.topic(REQUEST): REQUEST,
            **{self.plan.topic(stage.name): stage.name for stage in self.plan.stages},
        }
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self.problem = "connecting"
        """Why it is not connected; empty when it is."""

    @property
    def is_connected(self) -> bool:
        return self._client is not None

    def start(self) -> None:
        self._task = asyncio.create_task(self._stay_connected(), name=f"feed {self.plan.pipeline}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.end_streams()

    def end_streams(self) -> None:
        self.summaries.close()
        for channel in self._channels.values():
            channel.close()

    async def _stay_connected(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._look)
                await self._read()
            except (BrokerError, KafkaException) as error:
                if str(error) != self.problem:
                    log.info("waiting for the pipeline", pipeline=self.plan.pipeline, reason=str(error))
                self.problem = str(error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _read(self) -> None:
        """Until it is cancelled, or may not read any more."""
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ending = Tasks(partial(fail, failed))

        def take(topic: str, envelope: Envelope, value: bytes | None) -> None:
            if self._sources[topic]:
                self._take(topic, envelope, value)
            else:
                ending.spawn(self._end(reader, topic, envelope, value))

        reader = Reader(self._kafka, list(self._sources), lambda _: True, take, partial(fail, failed))
        await reader.start()
        try:
            async with Client(self._pipeline, self._kafka) as self._client:
                self.problem = ""
                await failed
        finally:
            self._client = None
            await reader.close()
            await ending.close()

    async def _end(self, reader: Reader, topic: str, envelope: Envelope, value: bytes | None) -> None:
        """With the answer, behind what it rests on: that is on other topics, which may be read later."""
        await reader.caught_up([topic for topic, source in self._sources.items() if source])
        self._take(topic, envelope, value)

    def _look(self) -> None:
        """Raises when Kafka is away or topics are missing, within CALL_SECONDS: the readers would wait for a broker
        without end, and a thread that waits keeps the process from stopping."""
        known = AdminClient(self._kafka.client()).list_topics(timeout=CALL_SECONDS).topics
        missing = sorted(set(self._sources) - set(known))
        if missing:
            raise BrokerError(f"there is no topic {missing[0]!r} yet: start it with `descant run`", code="broker.topic")

    async def submit(
        self,
        request: Any,
        *,
        id: str | None,
        stream: bool,
        timeout_seconds: float | None,
        traceparent: str | None = None,
    ) -> str:
        """Validate and produce; returns the request's id when the broker has it. An id that was seen here already is
        the same request, and nothing is produced.

        Raises pydantic.ValidationError when the request does not fit, GatewayError while the pipeline is away,
        BrokerError when it cannot be produced.
        """
        client = self._connected()
        valid = self.request.validate_python(request)
        request_id = id or uuid.uuid4().hex
        if request_id in self.live:
            return request_id
        live = self.live.open(request_id, self.request.dump_python(valid, mode="json"), time.time())
        self._publish(live, live.opened())
        await client.submit(
            valid, id=request_id, stream=stream, timeout_seconds=timeout_seconds, traceparent=traceparent
        )
        return request_id

    async def cancel(self, request_id: str) -> None:
        """Ask for its end; its answer is then the typed error `cancelled`, unless it was answered first."""
        await self._connected().cancel(request_id)

    def find(self, request_id: str) -> Live:
        """Raises GatewayError when no such request was seen."""
        if request_id not in self.live:
            raise GatewayError(
                f"no request {request_id!r} of {self.plan.pipeline!r} is known here: it was never seen, or it is "
                "older than those that are kept.",
                code="console.no_request",
                status=404,
            )
        return self.live[request_id]

    def subscribe(self, request_id: str) -> Subscription[RequestEvent]:
        """What happens to it from now on; `find(id).replay()` is what has happened. Take both without a pause."""
        return self._channels[request_id].subscribe()

    def unsubscribed(self, request_id: str) -> None:
        """Called by who has left: the channel of a request that nobody watches is let go."""
        channel = self._channels.get(request_id)
        if channel is not None and channel.is_empty:
            del self._channels[request_id]

    def recent(self, count: int) -> list[Summary]:
        now = time.time()
        return [live.summary(now) for live in self.live.newest_first()[:count]]

    def _connected(self) -> Client:
        if self._client is None:
            raise GatewayError(
                f"pipeline {self.plan.pipeline!r} is not there: {self.problem}.",
                code="console.pipeline_away",
                status=503,
                retry_after=round(RETRY_SECONDS),
            )
        return self._client

    def _take(self, topic: str, envelope: Envelope, value: bytes | None) -> None:
        events = self.live.on(self._sources[topic], envelope, value, time.time())
        if events:
            self._publish(self.live[envelope.id], *events)

    def _publish(self, live: Live, *events: RequestEvent) -> None:
        if live.id in self._channels:
            self._channels[live.id].publish(*events)
            if isinstance(events[-1], AnswerEvent):
                # Those who read it hold it; who comes later gets the answer from the replay.
                self._channels.pop(live.id).close()
        if any(isinstance(event, Opened | AnswerEvent) for event in events):
            self.summaries.publish(live.summary(time.time()))
