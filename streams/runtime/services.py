"""What all roles in one process share: one producer, one control follower, one router, one way to fail."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from confluent_kafka import Message

from streams.core.failure import Failure
from streams.core.plan import Plan
from streams.core.record import Envelope, Kind
from streams.errors import RecordError
from streams.runtime.follow import ControlFollower
from streams.runtime.offsets import OffsetLookup
from streams.runtime.poison import Poison, dead_letter
from streams.runtime.producer import LoopProducer
from streams.runtime.route import Placed, PromptRecord, RoundRobinRouter, Router, create_router, instances_of
from streams.settings import KafkaSettings, PipelineSettings


class Services:
    def __init__(self, plan: Plan, kafka: KafkaSettings, settings: PipelineSettings, *, routes: bool) -> None:
        """`routes`: a @model stage runs here, and needs to know the workers."""
        self.plan: Final = plan
        self.kafka: Final = kafka
        self.settings: Final = settings
        self.failed: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self.lookup: Final = OffsetLookup(kafka)
        self.producer: Final = LoopProducer(kafka, self.fatal)
        self.follower: Final = ControlFollower(kafka, self.lookup, plan.pipeline, self.fatal)
        self.router: Final[Router] = create_router(kafka, settings) if routes else RoundRobinRouter(settings.lanes)
        self.slots: Final[dict[str, Callable[[], int]]] = {}
        """Stage that runs here -> how many of its slots are here now."""
        self.follower.listen(self.router.closed)
        self.router.report_to(self.fail_request, self.fatal)
        counter = itertools.count(1)
        self.next_n: Final[Callable[[], int]] = lambda: next(counter)
        """n of run ids: over all slots of this process, never reset."""

    def lane(self, model: str, envelope: Envelope, prompt: PromptRecord) -> Placed:
        """Where the router sends this prompt."""
        here = {name: count() for name, count in self.slots.items()}
        instances = instances_of(self.plan, model, self.settings.partitions, here)
        return self.router.lane(model, envelope, prompt, instances=instances)

    def fatal(self, error: BaseException) -> None:
        """Latched: the first is what `failed` raises to whoever runs the process."""
        if not self.failed.done():
            self.failed.set_exception(error)

    def dead_letter(self, message: Message, stage: str, failure: Failure) -> None:
        self.poison(Poison.of(message), stage, failure)

    def poison(self, poison: Poison, stage: str, failure: Failure) -> None:
        dead_letter(self.producer, self.plan.pipeline, poison, stage, failure)

    def reject(self, message: Message, stage: str, envelope: Envelope, error: RecordError) -> None:
        """A record of a known request cannot be used: dead letter, and the request fails (PROTOCOL §5.1)."""
        failure = Failure(error.code, str(error), stage)
        self.dead_letter(message, stage, failure)
        self.fail_request(envelope, failure)

    def fail_request(self, envelope: Envelope, failure: Failure) -> None:
        """Ask the closer to end the request with this error, unless it has ended."""
        if envelope.serial is None or envelope.serial.partition >= self.settings.partitions:
            return  # no request of this pipeline
        failing = Envelope(
            id=envelope.id,
            kind=Kind.FAIL,
            serial=envelope.serial,
            plan=self.plan.digest,
            deadline=envelope.deadline,
        )
        self.producer.send(
            self.plan.topic("accepted"),
            envelope.id,
            failure.encode(envelope.id),
            failing.headers(),
            partition=envelope.serial.partition,
        )

    async def close(self) -> None:
        await self.router.close()
        await self.producer.close()
        await self.follower.close()
