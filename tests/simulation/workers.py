"""Processes of workers: lanes, looks, fences, and engines that write another text each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from streams.core.failure import Failure
from streams.core.lane import Fence, Generate, Halt, Lane, LaneEffect, Look, Prompt, Write, Writing
from streams.core.lineage import Serial, routing_key
from streams.core.partition import partition_of
from streams.core.plan import Plan
from streams.core.text import Piece
from tests.simulation.broker import Group
from tests.simulation.functions import Habits
from tests.simulation.host import Host, Phase, record_of
from tests.simulation.process import Process
from tests.simulation.world import World


class WorkerProcess(Process):
    def __init__(
        self,
        world: World,
        group: Group,
        name: str,
        plan: Plan,
        habits: dict[str, Habits],
        partitions: int,
        can_resume: bool,
    ) -> None:
        self.plan: Final = plan
        self.habits: Final = habits
        self.partitions: Final = partitions
        self.can_resume: Final = can_resume
        super().__init__(world, group, name)

    def host(self, partition: int) -> Host:
        return LaneHost(self, partition)

    def may_be_refused(self, acked: Callable[..., None]) -> bool:
        return getattr(acked, "__name__", "") in ("acked", "fence_acked")

    def refused(self, acked: Callable[..., None], args: tuple[object, ...]) -> None:
        host, writing = acked.__self__, args[0]  # type: ignore[attr-defined]
        if not host.is_dead:
            host.do(host.lane.refused(writing))


class Engine:
    """A generation under way."""

    def __init__(self, world: World, writing: Writing, habits: Habits) -> None:
        self.writing: Final = writing
        self.prompt: Final = writing.prompt.value
        resumed = writing.resume
        self.parent = resumed[-1] if resumed else -1
        if resumed and not world.rules.resumes_from_ids:
            self.parent = world.truth.token(
                self.parent, self.prompt
            )  # what it makes of the text is not what was written
        self.left = world.rng.randrange(7)
        self.next_at = 0
        self.fails = world.rng.random() < habits.text_fail_chance


class Reading:
    """A look at the output partition, up to `end`."""

    def __init__(self, prompt: Prompt, partition: int, topic: str, at: int, end: int) -> None:
        self.prompt: Final = prompt
        self.partition: Final = partition
        self.topic: Final = topic
        self.at = at
        self.end = end
        self.writing: Writing | None = None


class LaneHost(Host):
    process: WorkerProcess  # type: ignore[misc]

    def __init__(self, process: WorkerProcess, partition: int) -> None:
        super().__init__(process, partition, ("prompts",))
        self.lane: Lane
        self.engines: dict[Writing, Engine] = {}
        self.readings: list[Reading] = []
        self.looked: dict[Prompt, Reading] = {}
        self.is_dirty = False

    def restore(self) -> bool:
        self.lane = Lane(
            epoch=self.metadata.epoch,
            position=self.at["prompts"],
            next_n=self.process.next_n,
            is_closed=lambda _, serial: self.process.is_closed(serial),
            can_resume=self.process.can_resume,
        )
        self.phase = Phase.REPLAYING
        return True

    def act(self, rng: Random) -> bool:
        if self.phase == Phase.REPLAYING and self.at["prompts"] >= self.ends["prompts"]:
            self.phase = Phase.ACTIVE
            self.is_dirty = True
            self.world.note(self, "has replayed")
            self.do(self.lane.caught_up())
            return True
        for what in (self._read, self._look, self._generate) if rng.random() < 0.5 else (self._generate, self._look):
            if what(rng):
                return True
        return self._read(rng) or (self.phase == Phase.ACTIVE and self._try_commit(rng))

    def _read(self, rng: Random) -> bool:
        records, at = self.world.broker.log("prompts", self.partition).records, self.at["prompts"]
        if at >= len(records):
            return False
        self.at["prompts"] = at + 1
        if not self.may_read("prompts"):
            return True
        envelope = records[at].envelope
        assert envelope is not None
        self.do(self.lane.record(at, "p", envelope, records[at].value))
        self.is_dirty = True
        return True

    def _look(self, rng: Random) -> bool:
        if not self.readings:
            return False
        reading = self.readings[rng.randrange(len(self.readings))]
        if reading.at < reading.end:
            record = self.world.broker.log(reading.topic, reading.partition).records[reading.at]
            reading.at += 1
            if record.envelope is not None and reading.prompt.is_text_of(record.envelope):
                self.lane.seen(reading.prompt, record.envelope, record.value)
        else:
            self.readings.remove(reading)
            if reading.writing is None:
                self.do(self.lane.looked(reading.prompt))
            else:
                self.do(self.lane.fenced(reading.writing))
            self.is_dirty = True
        return True

    def _generate(self, rng: Random) -> bool:
        if not self.engines:
            return False
        ready = [e for e in self.engines.values() if e.next_at <= self.world.step]
        if not ready:
            return False
        engine = ready[rng.randrange(len(ready))]
        writing, truth = engine.writing, self.world.truth
        engine.next_at = self.world.step + rng.randrange(1, 30)
        self.world.at(engine.next_at, self.process)
        if engine.left:
            count = 1 + rng.randrange(min(2, engine.left))
            engine.left -= count
            ids = []
            for _ in range(count):
                engine.parent = truth.token(engine.parent, engine.prompt)
                ids.append(engine.parent)
            self.do(self.lane.tokens(writing, Piece(writing.length, "x" * count, tuple(ids), count)))
        else:
            del self.engines[writing]
            failure = Failure("model.prompt", "refused", writing.prompt.node.stage) if engine.fails else None
            if failure is None:
                truth.endings.add((engine.prompt, engine.parent))
            self.do(self.lane.ended(writing, failure))
        return True

    # -- effects ---------------------------------------------------------------------------------------------------

    def do(self, effects: Iterable[LaneEffect]) -> None:
        process, broker, world = self.process, self.world.broker, self.world
        for effect in effects:
            match effect:
                case Look(prompt):
                    topic, partition = self._output(prompt)
                    log = broker.log(topic, partition)
                    asked = broker.log("prompts", self.partition).records[prompt.offset].step
                    start = next((i for i, r in enumerate(log.records) if r.step >= asked), log.end)
                    reading = Reading(prompt, partition, topic, start, log.end)
                    self.readings = [r for r in self.readings if r.prompt is not prompt]
                    self.readings.append(reading)
                    self.looked[prompt] = reading
                    world.note(self, "looks at {}[{}] from {} for {}", topic, partition, start, prompt)
                case Fence(writing, envelope):
                    topic, partition = self._output(writing.prompt)
                    world.count("a fence is produced")
                    if world.rules.fences_texts:
                        process.wire.send(topic, partition, record_of(envelope, None), self.fence_acked, writing)
                    else:
                        writing.w = writing.prompt.text.cur or writing.w
                        self.do(self.lane.fenced(writing))
                case Generate(writing):
                    if writing.resume:
                        world.count("a text is resumed behind a fence")
                    elif (before := self.looked.get(writing.prompt)) is not None and before.prompt.text.length:
                        world.count("a text is written again from nothing")
                    world.note(self, "generates {} w={} from {}", writing.prompt, writing.w, writing.resume)
                    self.looked.pop(writing.prompt, None)
                    self.engines[writing] = Engine(world, writing, process.habits[writing.prompt.node.stage])
                case Write(writing, envelope, value):
                    topic, partition = self._output(writing.prompt)
                    process.wire.send(topic, partition, record_of(envelope, value), self.acked, writing)
                case Halt(writing):
                    world.count("a generation is halted")
                    world.note(self, "halts {}", writing.prompt)
                    self.engines.pop(writing, None)
                    self.readings = [r for r in self.readings if r.prompt is not writing.prompt]
                    self.looked.pop(writing.prompt, None)
        world.wake(process)

    def fence_acked(self, offset: int, writing: Writing) -> None:
        reading = self.looked.get(writing.prompt)
        if self.is_dead or writing.is_void or reading is None:
            return
        reading.writing, reading.end = writing, offset + 1
        self.readings.append(reading)
        self.world.wake(self.process)

    def acked(self, _offset: int, writing: Writing) -> None:
        if not self.is_dead:
            self.lane.acked(writing)
            self.is_dirty = True
            self.world.wake(self.process)

    def _output(self, prompt: Prompt) -> tuple[str, int]:
        plan, envelope = self.process.plan, prompt.envelope
        key = routing_key(envelope.id, envelope.path, plan[envelope.stage].key_depth)
        return plan.topic(envelope.stage), partition_of(key.encode(), self.process.partitions)

    # -- closing and committing ------------------------------------------------------------------------------------

    def closed(self, serial: Serial) -> None:
        if self.phase >= Phase.REPLAYING:
            self.do(self.lane.closed("p", serial))
            self.is_dirty = True

    def _try_commit(self, rng: Random) -> bool:
        if self.is_committing or self.is_stopping or not self.is_dirty or self.commits_later(rng):
            return False
        return self._commit()

    def commit_now(self) -> None:
        if self.phase == Phase.ACTIVE and not self.is_committing and not self.is_stopping:
            self._commit()

    def _commit(self) -> bool:
        self.is_dirty = False
        offset, metadata = self.lane.committable()
        if self.sent != ({"prompts": offset}, metadata.encode()):
            self.commit({"prompts": offset}, metadata, self.committed)
        return True

    @property
    def is_working(self) -> bool:
        return bool(self.engines)

    @property
    def leftovers(self) -> str:
        if self.phase != Phase.ACTIVE:
            return f"{self} is in phase {self.phase}"
        if self.lane.open_prompts:
            return f"{self} still holds {self.lane.open_prompts} prompts"
        return f"{self} still generates" if self.engines else ""
