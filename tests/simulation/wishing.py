"""Somebody outside the flow who judges what stages gave and asks for further runs (docs/decisions/enforcing.md)."""

from __future__ import annotations

from random import Random
from typing import Final

from streams.core.lineage import Layout, routing_key
from streams.core.partition import partition_of
from streams.core.plan import REQUEST, Plan, StagePlan
from streams.core.record import Envelope, Kind
from streams.core.revision import Revision
from tests.simulation.broker import Record
from tests.simulation.world import World


class Wisher:
    """Looks at any record that a stage gave, often at an outdated one, and sometimes says the same thing twice."""

    def __init__(self, world: World, plan: Plan, partitions: int, count: int) -> None:
        self.world: Final = world
        self.plan: Final = plan
        self.layout: Final = Layout(plan)
        self.partitions: Final = partitions
        self._left = count
        self._said: list[tuple[str, int, Record]] = []
        world.at(world.rng.randrange(60), self)

    def __repr__(self) -> str:
        return "wisher"

    def run(self, rng: Random) -> bool:
        if not self._left:
            return False
        self._left -= 1
        self.world.at(self.world.step + 1 + rng.randrange(80), self)
        if self._said and rng.random() < 0.2:
            self._say(*rng.choice(self._said))
            return False
        stage = rng.choice(self.plan.stages)
        given = [
            record.envelope
            for _, log in self.world.broker.of(self.plan.topic(stage.name))
            for record in log.records
            if record.envelope is not None
            and record.envelope.stage == stage.name
            and record.envelope.kind in (Kind.ITEM, Kind.CHUNK, Kind.END)
        ]
        if given:
            self._wish(stage, rng.choice(given[-5:] if rng.random() < 0.7 else given))
        return False

    def _wish(self, stage: StagePlan, given: Envelope) -> None:
        path = given.path[: stage.depth]
        home = stage.sources[0]
        key = routing_key(given.id, path, 0 if home == REQUEST else self.plan[home].key_depth)
        wish = Envelope(
            id=given.id,
            kind=Kind.REVISE,
            serial=given.serial,
            plan=given.plan,
            stage=stage.name,
            path=path,
            lin=given.lin,
        )
        record = Record(wish, Revision(f"w{self._left}", "again").encode(), 0)
        said = (self.plan.topic(home), partition_of(key.encode(), self.partitions), record)
        self._said.append(said)
        self._say(*said)

    def _say(self, topic: str, partition: int, record: Record) -> None:
        self.world.count("somebody asks for another run")
        self.world.note(self, "says on {}: {}", topic, record)
        self.world.broker.append(topic, partition, Record(record.envelope, record.value, 0))
