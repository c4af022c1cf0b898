"""Everything that a console knows, for as long as it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

from assertions.core.flag import Flag
from assertions.processor.topics import FLAGS, log_topic
from console.errors import not_found
from console.settings import ConsoleSettings
from console.state.board import Board
from console.state.channel import Channel
from console.state.feed import Feed
from console.state.fleet import Fleet, FleetView
from console.state.labelling import Labelling
from console.state.tail import Tail
from streams.flow import Pipeline
from streams.runtime.topics import WORKERS_STATE, models_of, prompts_topic
from streams.settings import KafkaSettings

OBSERVATIONS_READ: Final = 500
"""Newest records of the observation log that are read at the start, a partition; each holds many observations."""


class Hub:
    """`async with Hub(pipelines, kafka, settings) as hub: ...`. What is not there yet is waited for, so that the
    console can be started first."""

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        kafka: KafkaSettings,
        settings: ConsoleSettings,
        *,
        assertion_groups: Sequence[str] = ("default",),
    ) -> None:
        self.settings: Final = settings
        self.feeds: Final = {p.plan.pipeline: Feed(p, kafka, settings.requests_kept) for p in pipelines}
        self.fleet: Final = Fleet()
        self.board: Final = Board(settings.flags_kept)
        self.flags: Final[Channel[Flag]] = Channel()
        self.labelling: Final = Labelling(kafka)
        self._lanes: dict[str, int] = {}
        self._kafka: Final = kafka
        self._logs: Final = tuple(log_topic(group) for group in assertion_groups)
        self._stack: Final = AsyncExitStack()
        self.started_at: Final = time.time()

    async def __aenter__(self) -> Self:
        for feed in self.feeds.values():
            feed.start()
            self._stack.push_async_callback(feed.close)
        tails = (
            Tail(self._kafka, [WORKERS_STATE], self._on_workers, since="end", on_layout=self._on_layout),
            Tail(self._kafka, [FLAGS], self._on_flags, since="beginning", last=self.settings.flags_kept),
            Tail(self._kafka, self._logs, self._on_observations, since="beginning", last=OBSERVATIONS_READ),
        )
        for tail in tails:
            tail.start()
            self._stack.push_async_callback(tail.close)
        self.labelling.start()
        self._stack.push_async_callback(self.labelling.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end_streams()
        await self._stack.aclose()

    def end_streams(self) -> None:
        """Let every event stream end, so that the server can."""
        self.flags.close()
        for feed in self.feeds.values():
            feed.end_streams()

    async def wait(self) -> None:
        """Return never: a console outlives the brokers and pipelines that it shows."""
        await asyncio.Event().wait()

    def feed(self, pipeline: str) -> Feed:
        """Raises GatewayError for a pipeline that this console does not serve."""
        if pipeline not in self.feeds:
            raise not_found("pipeline", pipeline, ", ".join(map(repr, self.feeds)))
        return self.feeds[pipeline]

    def workers(self) -> FleetView:
        return self.fleet.view(time.time(), self._lanes)

    def _on_layout(self, partitions: dict[str, int]) -> None:
        """A model's lanes are the partitions of its prompts; only of models that these pipelines ask for."""
        self._lanes = {
            model: partitions[prompts_topic(model)]
            for feed in self.feeds.values()
            for model in models_of(feed.plan)
            if prompts_topic(model) in partitions
        }

    def _on_workers(self, records: list[tuple[str, bytes]]) -> None:
        now = time.time()
        for _, value in records:
            self.fleet.on(value, now)

    def _on_flags(self, records: list[tuple[str, bytes]]) -> None:
        news = [flag for _, value in records if (flag := self.board.on_flag(value)) is not None]
        self.flags.publish(*news)

    def _on_observations(self, records: list[tuple[str, bytes]]) -> None:
        for _, value in records:
            self.board.on_observations(value)
