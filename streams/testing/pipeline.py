"""A whole pipeline inside a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.client import Client
from streams.flow import Pipeline
from streams.runtime.process import PipelineProcess, roles_of
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing.kafka import KafkaForTests


@asynccontextmanager
async def running(
    pipeline: Pipeline, kafka: KafkaForTests, *, watch: bool = False, settings: PipelineSettings | None = None
) -> AsyncIterator[Client]:
    """Every stage of the pipeline in this process, and a client of it, until the end of the `async with`.

    Models are not served: run `descant worker`, or a `Worker` with the simulated engine, beside it. Leaving hands
    everything back, which takes a second or two.

    watch      the client reads the stages' topics as well, for `Handle.events` and `Client.stream`
    settings   by default 2 partitions; the topics must not exist with another number
    """
    reach = KafkaSettings(bootstrap=kafka.bootstrap)
    own = settings or PipelineSettings(partitions=2, lanes=2)
    async with (
        PipelineProcess(pipeline.plan, roles_of(pipeline.plan), reach, own),
        Client(pipeline, reach, watch=watch) as client,
    ):
        yield client
