"""Processes of the ingress, and the client that asks."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Final

from streams.core.ingress import Ingress, IngressLimits
from streams.core.lineage import Serial
from streams.core.partition import partition_of
from streams.core.plan import REQUEST
from tests.simulation.broker import Group, Record
from tests.simulation.host import Host, Phase, record_of
from tests.simulation.process import Process
from tests.simulation.world import World

REQUESTS = "p.requests"


class IngressProcess(Process):
    def __init__(self, world: World, group: Group, name: str, digest: str, partitions: int, room: int) -> None:
        self.ingress: Final = Ingress(digest, bytes, IngressLimits())
        self.partitions: Final = partitions
        self.room: Final = room
        super().__init__(world, group, name)

    def host(self, partition: int) -> Host:
        return IngressHost(self, partition)


class IngressHost(Host):
    """It has no state of its own: what is not committed is read, and accepted, again."""

    process: IngressProcess  # type: ignore[misc]

    def __init__(self, process: IngressProcess, partition: int) -> None:
        super().__init__(process, partition, (REQUESTS,))
        self.acked_to: dict[int, bool] = {}
        self.done = 0

    def restore(self) -> bool:
        self.phase = Phase.ACTIVE
        self.done = self.at[REQUESTS]
        return True

    def act(self, rng: Random) -> bool:
        process = self.process
        if not self.may_read(REQUESTS):
            return True
        records, at = self.world.broker.log(REQUESTS, self.partition).records, self.at[REQUESTS]
        if at < len(records):
            record = records[at]
            accepted = process.ingress.accept(
                self.partition, at, record.key, record.value, record.headers, self.world.now_ms
            )
            key = accepted.envelope.id
            if record.key is None and not self.world.rules.keyless_ids_are_places:
                key = f"chance-{self.world.rng.randrange(1 << 30)}"
            q = partition_of(key.encode(), process.partitions)
            topic = f"p.{REQUEST}"
            if self.world.broker.log(topic, q).end - process.control.of(q).low < process.room:
                self.at[REQUESTS] = at + 1
                record = record_of(accepted.envelope._replace(id=key), accepted.value)
                process.wire.send(topic, q, record, self.acked, at)
                if accepted.dead is not None and not self.world.rules.closer_alone_answers:
                    serial = Serial(q, self.world.broker.log(topic, q).end)
                    error = record_of(accepted.envelope._replace(serial=serial), accepted.value)
                    process.wire.send("p.answers", q, error, None)
                return True
            self.world.count("ingress waits for room")
        if self.is_committing or self.is_stopping:
            return False
        while self.acked_to.pop(self.done, False):
            self.done += 1
        if self.sent is None or self.sent[0][REQUESTS] != self.done:
            self.commit({REQUESTS: self.done}, self.metadata, self.committed)
            return True
        return False

    def acked(self, _offset: int, at: int) -> None:
        self.acked_to[at] = True

    def closed(self, serial: Serial) -> None:
        self.world.wake(self.process)

    @property
    def leftovers(self) -> str:
        return "" if self.phase == Phase.ACTIVE else f"{self} is in phase {self.phase}"


DEADLINE_STEPS: Final = 600
"""Within so many steps the deadline of a request that names one has passed: some are answered before, some are not."""

SHORT_MS: Final = 1_000


class _Clock:
    """The deadline of every request that named one has passed; that of no other."""

    def __init__(self, world: World) -> None:
        self.world: Final = world

    def run(self, rng: Random) -> bool:
        self.world.now_ms += 2 * SHORT_MS
        self.world.note("clock", "goes on")
        self.world.wake_all()
        return False


class Client:
    """Asks in order, at moments that the scheduler chooses."""

    def __init__(self, world: World, asks: list[Record], partitions: int) -> None:
        self.world: Final = world
        self.asks: Final = deque(asks)
        self.partitions: Final = partitions
        self.pace: Final = world.rng.choice((20, 60, 300))
        """Longest wait between two requests."""
        world.wake(self)

    def __repr__(self) -> str:
        return "client"

    def run(self, rng: Random) -> bool:
        if not self.asks:
            return False
        record = self.asks.popleft()
        partition = partition_of(record.key or b"", self.partitions)
        offset = self.world.broker.append(REQUESTS, partition, record)
        self.world.note(self, "asks {}[{}]@{} {}", REQUESTS, partition, offset, record)
        if "timeout-ms" in record.headers:
            self.world.at(self.world.step + rng.randrange(DEADLINE_STEPS), _Clock(self.world))
        self.world.at(self.world.step + rng.randrange(1, self.pace), self)
        return False
