"""One history: a pipeline, some requests, a seed, and faults; run until nothing can happen any more."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from streams.core.group import Shape
from streams.core.lineage import Layout
from streams.core.offsets import SlotMetadata, decode_metadata
from streams.core.plan import REQUEST, StageKind
from tests.simulation.broker import Group, Record, Txn
from tests.simulation.closing import CloserProcess, closer_stage
from tests.simulation.functions import Habits
from tests.simulation.ingesting import REQUESTS, Client, IngressProcess
from tests.simulation.pipelines import Op, Pipeline, build
from tests.simulation.process import CONTROL, Process
from tests.simulation.rules import Rules
from tests.simulation.stages import StageProcess
from tests.simulation.workers import WorkerProcess
from tests.simulation.world import World, describe

FAULTS = ("crash", "cut off", "pause", "move", "hold", "refuse", "forget marks", "crash and hold")

STEPS_MAX = 30_000
"""Far more than any of these small histories needs: a history that gets here goes round in circles."""


class Fault(NamedTuple):
    gap: int = 0
    """Steps after the fault before it."""
    kind: int = 0
    target: int = 0
    detail: int = 0


class Ask(NamedTuple):
    id: int = 0
    """-1: without a key."""
    kind: int = 0
    """0 asks, 1 cancels, 2 sends something invalid"""


@dataclass(frozen=True, slots=True)
class Schedule:
    ops: tuple[Op, ...] = ()
    last: Op = Op()
    asks: tuple[Ask, ...] = (Ask(),)
    faults: tuple[Fault, ...] = ()
    partitions: int = 1
    lanes: int = 2
    room: int = 10
    window: int = 1_000
    can_resume: bool = True

    @property
    def pipeline(self) -> Pipeline:
        return build(self.ops, self.last)


@dataclass
class History:
    world: World
    schedule: Schedule
    pipeline: Pipeline
    processes: list[Process] = field(default_factory=list)
    is_endless: bool = False

    def around(self, step: int | None = None, lines: int = 40, about: str = "") -> str:
        """The lines before and after a step, one thing that happened in each."""
        shown = [
            f"{at:6d}  {str(who):<14} {text.format(*map(describe, args))}" for at, who, text, args in self.world.lines
        ]
        if about:
            shown = [line for line in shown if about in line]
        if step is not None:
            places = [i for i, line in enumerate(shown) if int(line[:6]) <= step]
            middle = places[-1] if places else 0
            shown = shown[max(0, middle - lines) : middle + lines]
        return "\n".join([self.pipeline.describe(), *shown])


class _Timeout:
    """The broker aborts a transaction that nobody ends."""

    def __init__(self, world: World, txn: Txn) -> None:
        self.world: Final = world
        self.txn: Final = txn

    def __repr__(self) -> str:
        return "broker"

    def run(self, rng: Random) -> bool:
        if not self.txn.is_open:
            return False
        self.world.broker.end(self.txn, commit=False)
        self.world.note(self, "aborts a transaction")
        return True


class SimWorld(World):
    def timeout(self, txn: Txn) -> None:
        self.at(self.step + self.rng.randrange(1, 80), _Timeout(self, txn))


def simulate(schedule: Schedule, seed: int, rules: Rules = Rules()) -> History:
    world = SimWorld(seed, rules)
    pipeline = schedule.pipeline
    plan, partitions = pipeline.plan, schedule.partitions
    layout = Layout(plan)
    history = History(world, schedule, pipeline)
    broker = world.broker
    for q in range(partitions):
        for topic in (REQUESTS, f"p.{REQUEST}", CONTROL, "p.answers"):
            broker.log(topic, q)

    def add(processes: list[Process], topics: tuple[str, ...]) -> None:
        history.processes.extend(processes)
        world.actors.extend(processes)
        for topic in (*topics, CONTROL):
            broker.readers.setdefault(topic, []).extend(processes)

    def group(name: str, topics: tuple[str, ...], count: int) -> Group:
        found = Group(world, name, topics, count)
        world.actors.append(found)
        return found

    for stage in (*plan.stages, closer_stage(plan)):
        shape = Shape(plan, stage, layout)
        topics = tuple(plan.topic(s) for s in shape.sources)
        members = group(stage.name, topics, partitions)
        pair: list[Process] = []
        for who in "12":
            name = f"{stage.name}.{who}"
            if stage.name == "closer":
                process = CloserProcess(world, members, name, shape, Habits(), partitions, schedule.lanes)
                process.window = schedule.window
                pair.append(process)
            else:
                habits = pipeline.habits[stage.name]
                pair.append(StageProcess(world, members, name, shape, habits, partitions, schedule.lanes))
        add(pair, topics)
    if any(stage.kind is StageKind.MODEL for stage in plan.stages):
        members = group("workers", ("prompts",), schedule.lanes)
        add(
            [
                WorkerProcess(world, members, f"worker.{who}", plan, pipeline.habits, partitions, schedule.can_resume)
                for who in "12"
            ],
            ("prompts",),
        )
    members = group("ingress", (REQUESTS,), partitions)
    room = max(1, schedule.room)
    add(
        [IngressProcess(world, members, f"ingress.{who}", plan.digest, partitions, room) for who in "12"],
        (REQUESTS,),
    )
    Client(world, [_asked(ask) for ask in schedule.asks], partitions)
    _run(history, schedule.faults)
    return history


def _asked(ask: Ask) -> Record:
    key = None if ask.id < 0 else f"r{ask.id}".encode()
    value = b"" if ask.kind == 2 else f"q{ask.id}".encode()
    return Record(None, value, 0, key=key, headers={"kind": b"cancel"} if ask.kind == 1 else {})


def _run(history: History, faults: tuple[Fault, ...]) -> None:
    world = history.world
    due = 0
    for fault in faults:
        due += fault.gap
        while world.step < due and world.run_one():
            pass
        _inflict(history, fault)
    while world.run_one():
        if world.step > STEPS_MAX:
            history.is_endless = True
            return


def _inflict(history: History, fault: Fault) -> None:
    world = history.world
    process = history.processes[fault.target % len(history.processes)]
    rng = world.rng
    kind = FAULTS[fault.kind % len(FAULTS)]
    steps = 20 + 40 * (fault.detail // 3 % 6)
    if kind == "crash":
        process.crash(fault.detail % 3, rng)
    elif kind == "crash and hold":
        process.wire.hold(steps)
        process.crash(fault.detail % 3, rng)
    elif kind == "cut off":
        process.cut_off(steps)
    elif kind == "pause":
        process.pause()
        if fault.detail % 3:
            process.cut_off(steps + 30)
        world.at(world.step + steps, _Resume(process))
    elif kind == "move":
        partition = fault.detail % process.group.partitions
        world.note(process.group, "moves partition {}", partition)
        process.group.move(partition)
    elif kind == "hold":
        world.note(process, "has a slow wire")
        process.wire.hold(steps)
    elif kind == "refuse":
        if process.wire.refuse(rng):
            world.note(process, "has a record refused")
    else:
        _forget_marks(history, process)


class _Resume:
    def __init__(self, process: Process) -> None:
        self.process: Final = process

    def run(self, rng: Random) -> bool:
        self.process.resume()
        return False


def _forget_marks(history: History, process: Process) -> None:
    """Metadata has room for so many marks only: some are cut off."""
    offsets = history.world.broker.offsets
    for at, (offset, text) in offsets.items():
        metadata = decode_metadata(text)
        if at[0] == process.group.name and metadata is not None and metadata.marks:
            kept = SlotMetadata(metadata.epoch, metadata.answers_position, metadata.marks[:1])
            offsets[at] = (offset, kept.encode())
            history.world.note(process.group, "loses marks of partition {}", at[2])
