"""Processes of a stage: slots driven as the runtime drives them."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any, Final

from streams.core.effects import Effect, Emit, Failed, Node, Reject, Result, Route, Run, Start, Stop, Wake
from streams.core.failure import Failure
from streams.core.group import Shape
from streams.core.lineage import Serial, routing_key
from streams.core.offsets import SlotMetadata
from streams.core.partition import partition_of
from streams.core.plan import REQUEST, Plan, StagePlan
from streams.core.record import Envelope, Kind
from streams.core.slot import Slot
from tests.simulation.broker import Group
from tests.simulation.functions import Call, Habits
from tests.simulation.host import Host, Phase, record_of
from tests.simulation.process import Process
from tests.simulation.world import World


class StageProcess(Process):
    def __init__(
        self, world: World, group: Group, name: str, shape: Shape, habits: Habits, partitions: int, lanes: int
    ) -> None:
        self.shape: Final = shape
        self.stage: Final[StagePlan] = shape.stage
        self.plan: Final[Plan] = shape.plan
        self.habits: Final = habits
        self.partitions: Final = partitions
        self.lanes: Final = lanes
        super().__init__(world, group, name)

    def host(self, partition: int) -> Host:
        return StageHost(self, partition)

    def may_be_refused(self, acked: Any) -> bool:
        return isinstance(getattr(acked, "__self__", None), StageHost) and acked.__name__ == "acked"

    def refused(self, acked: Any, args: tuple[Any, ...]) -> None:
        host, run = acked.__self__, args[0]
        if host.is_dead:
            return
        if self.world.rules.retries_refused:
            host.do(host.slot.returned(run, Failed(Failure("produce.refused", "not delivered", self.stage.name))))
        else:
            acked(0, *args)


class StageHost(Host):
    process: StageProcess  # type: ignore[misc]

    def __init__(self, process: StageProcess, partition: int) -> None:
        super().__init__(process, partition, tuple(process.plan.topic(s) for s in process.shape.sources))
        self.slot: Slot
        self.calls: dict[Run, Call] = {}
        self.runnable: list[Run] = []
        self.is_dirty = False
        self.reads_at = 0

    def restore(self) -> bool:
        self.slot = self.new_slot()
        self.phase = Phase.REPLAYING
        return True

    def new_slot(self) -> Slot:
        return Slot(
            self.process.shape,
            self.partition,
            metadata=self.metadata,
            positions={k: self.at[topic] for k, topic in enumerate(self.topics)},
            next_n=self.process.next_n,
            is_closed=self.is_closed,
        )

    def is_closed(self, serial: Serial) -> bool:
        return self.process.is_closed(serial)

    # -- one thing at a time ---------------------------------------------------------------------------------------

    def act(self, rng: Random) -> bool:
        if self.phase == Phase.REPLAYING and all(self.at[t] >= self.ends[t] for t in self.topics):
            self.phase = Phase.ACTIVE
            self.is_dirty = True
            self.world.note(self, "has replayed")
            self.do(self.slot.caught_up())
            for request in self.slot.requests.values():
                for node in request.nodes.values():
                    is_marked = node.is_finished
                    self.world.count(f"a takeover finds a node {'finished' if is_marked else 'without a mark'}")
            return True
        chance = rng.random()
        if chance < 0.4 and self.advance_run(rng):
            return True
        if chance > 0.5 and self.phase == Phase.ACTIVE and self.try_commit(rng):
            return True
        return self.read(rng) or self.advance_run(rng) or (self.phase == Phase.ACTIVE and self.try_commit(rng))

    def read(self, rng: Random) -> bool:
        is_replaying = self.phase == Phase.REPLAYING
        if is_replaying and self.reads_at > self.world.step:
            return False
        topics = list(self.topics)
        first = int(rng.random() * len(topics))
        found = False
        group = self.process.group
        for topic in topics[first:] + topics[:first]:
            if topic not in self.have:
                continue
            records = self.world.broker.log(topic, self.partition).records
            if not self.may_read(topic):
                return True
            at = self.at[topic]
            limit = len(records) if group.reads_all else min(len(records), at + 1 + int(rng.random() * 3))
            if is_replaying:
                limit = min(limit, self.ends[topic]) if at < self.ends[topic] else at
            if group.gates:
                limit = min(limit, group.gates.get(topic, limit))
            while at < limit and not self.is_dead:
                record = records[at]
                self.at[topic] = at + 1
                assert record.envelope is not None
                self.take(topic, at, record.envelope, record.value)
                at += 1
                found = True
            if found:
                self.is_dirty = True
                if is_replaying:
                    self._between_reads(rng)
                return True
        return False

    def _between_reads(self, rng: Random) -> None:
        if self.world.slow_replay:
            self.reads_at = self.world.step + rng.randrange(self.world.slow_replay)
            self.world.at(self.reads_at, self.process)
        if not self.world.rules.replays_first and not self.is_dead:
            self.run_early()

    def run_early(self) -> None:
        """What a runtime does that does not wait for the end of its replay: it runs what no mark says is finished."""
        slot = self.slot
        for request in list(slot.requests.values()):
            for node in list(request.nodes.values()):
                if not node.is_finished and (node.run is not None or not self.is_marked(node)):
                    slot.is_replaying = False
                    out: list[Effect] = []
                    slot._advance(node, out)
                    self.do(out)
                    slot.is_replaying = True

    def is_marked(self, node: Node) -> bool:
        return node.group.selection() in self.slot.marks

    def take(self, topic: str, offset: int, envelope: Envelope, value: bytes | None) -> None:
        self.do(self.slot.record(self.topics.index(topic), offset, envelope, value))
        if self.process.shape.meetings.compares:
            self._count_meetings(envelope)

    def _count_meetings(self, envelope: Envelope) -> None:
        request = self.slot.requests.get(envelope.serial) if envelope.serial is not None else None
        for node in request.nodes.values() if request is not None else ():
            if node.group.has_all and not node.group.is_complete:
                self.world.count("two ways to a meeting have seen different runs")

    def advance_run(self, rng: Random) -> bool:
        step = self.world.step
        for run in rng.sample(self.runnable, len(self.runnable)) if len(self.runnable) > 1 else tuple(self.runnable):
            at = self.runnable.index(run)
            call = self.calls.get(run)
            if call is None or call.is_over or run.is_void:
                self.runnable.pop(at)
                continue
            if call.next_at > step:
                continue
            if rng.random() < 0.4:
                call.next_at = step + rng.randrange(1, 40)
                self.world.at(call.next_at, self.process)
                continue
            result = call.advance(rng)
            if result is None:
                self.runnable.pop(at)
                return True
            if isinstance(result, bytes):
                self.do(self.slot.child(run, result))
            else:
                self.runnable.pop(at)
                del self.calls[run]
                self.returned(run, result)
            return True
        return False

    def returned(self, run: Run, result: Result) -> None:
        self.world.note(self, "{} returns {}", run, result)
        self.do(self.slot.returned(run, result))

    # -- effects ---------------------------------------------------------------------------------------------------

    def do(self, effects: Iterable[Effect]) -> None:
        process, world = self.process, self.world
        for effect in effects:
            match effect:
                case Start(run):
                    self.calls[run] = call = Call(world, run, process.habits)
                    self.runnable.append(run)
                    if not process.member.is_in:
                        world.count("a zombie starts a run")
                    world.note(self, "starts {}", call.execution)
                    world.wake(process)
                case Wake(run):
                    if run in self.calls and run not in self.runnable:
                        self.runnable.append(run)
                        world.wake(process)
                case Stop(run):
                    if run.node.request.serial in self.slot.requests:
                        world.count("a run is superseded or fails")
                    world.note(self, "stops {}", run)
                    self.calls.pop(run, None)
                case Emit(run, envelope, value):
                    self.emit(run, envelope, value)
                case Route(run, envelope, value):
                    lane = world.rng.randrange(process.lanes)
                    world.count("a prompt is routed")
                    self.send("prompts", lane, envelope, value, run)
                case Reject(source, offset, envelope, _, error):
                    world.note(self, "rejects {}@{}: {}", self.topics[source], offset, error)
                    world.complain(f"{self} rejects {self.topics[source]}@{offset} {envelope.id}: {error}")

    def emit(self, run: Run | None, envelope: Envelope, value: bytes | None) -> None:
        process = self.process
        stage = process.stage
        if run is None and not self.world.rules.markers_pass:
            return
        key = routing_key(envelope.id, envelope.path, stage.key_depth)
        partition = partition_of(key.encode(), process.partitions)
        self.send(process.plan.topic(stage.name), partition, envelope, value, run)

    def send(self, topic: str, partition: int, envelope: Envelope, value: bytes | None, run: Run | None) -> None:
        wire = self.process.wire
        if topic == "prompts" and self.world.rng.random() < 0.5:
            wire.send(topic, partition, record_of(envelope, value), self.prompt_acked, run, partition, envelope)
            return
        if run is None:
            wire.send(topic, partition, record_of(envelope, value), None)
            return
        wire.send(topic, partition, record_of(envelope, value), self.acked, run)
        if not self.world.rules.marks_after_acks:
            self.slot.acked(run)

    def prompt_acked(self, offset: int, run: Run, lane: int, envelope: Envelope) -> None:
        self.acked(offset, run)
        if not self.is_dead:
            self.cancel_elsewhere(lane, envelope)

    def cancel_elsewhere(self, lane: int, envelope: Envelope) -> None:
        """The prompt is acknowledged: earlier runs of its node, in whichever lane, are not needed."""
        for other in range(self.process.lanes):
            if other != lane:
                cancel = record_of(envelope._replace(kind=Kind.CANCEL), None)
                self.process.wire.send("prompts", other, cancel, None)

    def acked(self, _offset: int, run: Run) -> None:
        if not self.is_dead and self.world.rules.marks_after_acks:
            self.slot.acked(run)
            self.is_dirty = True
            self.world.wake(self.process)

    # -- closing and committing ------------------------------------------------------------------------------------

    def closed(self, serial: Serial) -> None:
        if self.phase >= Phase.REPLAYING:
            self.do(self.slot.closed(serial))
            self.is_dirty = True

    def try_commit(self, rng: Random) -> bool:
        if self.is_committing or self.is_stopping or not self.is_dirty or self.commits_later(rng):
            return False
        return self._commit()

    def commit_now(self) -> None:
        if self.phase == Phase.ACTIVE and not self.is_committing and not self.is_stopping:
            self._commit()

    def _commit(self) -> bool:
        offsets, metadata = self.committable()
        self.is_dirty = False
        if self.sent == (offsets, metadata.encode()):
            return True
        self.commit(offsets, metadata, self.committed)
        return True

    def committable(self) -> tuple[dict[str, int], SlotMetadata]:
        offsets, metadata = self.slot.committable()
        return {self.topics[k]: offset for k, offset in offsets.items()}, metadata

    @property
    def is_working(self) -> bool:
        return bool(self.calls)

    @property
    def leftovers(self) -> str:
        """What it still holds when every request is closed."""
        if self.phase != Phase.ACTIVE:
            return f"{self} is in phase {self.phase}"
        if self.slot.requests:
            return f"{self} still holds {sorted(self.slot.requests)}"
        if self.slot.committable()[1].marks:
            return f"{self} still holds marks of closed requests"
        return ""


def is_request(topic: str) -> bool:
    return topic.endswith(f".{REQUEST}")
