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
from tests.simulation.directed import Script, direct
from tests.simulation.functions import Habits
from tests.simulation.ingesting import REQUESTS, SHORT_MS, Client, IngressProcess
from tests.simulation.pipelines import LAST, Op, Pipeline, build
from tests.simulation.process import CONTROL, Process
from tests.simulation.process import Phase as HostPhase
from tests.simulation.rules import KEPT, Rules
from tests.simulation.stages import StageProcess
from tests.simulation.workers import WorkerProcess
from tests.simulation.world import World, describe

FAULTS = (
    "crash",
    "cut off",
    "pause",
    "move",
    "hold",
    "refuse",
    "forget marks and crash",
    "crash and hold",
    "commit, hold and move",
    "crash twice",
)

STEPS_MAX = 30_000
"""Far more than any of these small histories needs: a history that gets here goes round in circles."""


PATIENCE_STEPS: Final = 150

WHENS: Final = 8
"""Moments that a fault can wait for."""


class Fault(NamedTuple):
    gap: int = 0
    """Steps after the fault before it."""
    kind: int = 0
    target: int = 0
    """Counts groups; the process that owns something is hit."""
    detail: int = 0
    when: int = 0
    """0 at once; else at the first moment when it has 1 records in flight, 2 a request in flight, 3 something to
    replay, 4 two records of one partition in flight, 5 a function or an engine at work, 6 finished nodes whose marks
    are committed, 7 a transaction under way. Bugs live in moments that a blind fault seldom meets."""


class Ask(NamedTuple):
    id: int = 0
    """-1: without a key."""
    kind: int = 0
    """0 asks, 1 cancels, 2 sends something invalid, 3 asks with a deadline that will pass"""


class Accident(NamedTuple):
    kind: int = 0
    """0: every topic gets one more partition, and all processes are restarted with it one by one. 1: retention takes
    what one group still needs, and its owner is killed."""
    step: int = 0
    target: int = 0
    """Counts groups."""


@dataclass(frozen=True, slots=True)
class Schedule:
    ops: tuple[Op, ...] = ()
    last: Op = LAST
    asks: tuple[Ask, ...] = (Ask(),)
    faults: tuple[Fault, ...] = ()
    partitions: int = 1
    lanes: int = 2
    room: int = 10
    window: int = 1_000
    can_resume: bool = True
    late: int = 0
    """Steps before one stage, the sleeper, starts: until then every request is open, whatever happens before it, and
    no answer from an older run makes good what was lost."""
    sleeper: int = -1
    """Counts stages; -1 is the closer."""
    lag: int = 0
    """Longest wait between two things that land from one process: the longer, the more is in flight when it dies."""
    slow_replay: int = 0
    """Longest wait between two reads of a slot that replays: the longer, the more happens meanwhile."""
    accident: Accident | None = None
    """What an operator must not do."""

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
    groups: list[Group] = field(default_factory=list)
    targets: list[Group] = field(default_factory=list)
    """What a fault may hit: workers and closers three times as often, since they have the most to lose."""
    missed: list[int] = field(default_factory=list)
    """Of a directed history: which of its moments never came."""

    def around(self, step: int | None = None, lines: int = 40, about: str = "") -> str:
        """The lines before and after a step, one thing that happened in each."""
        shown = [
            f"{at:6d}  {who!s:<14} {text.format(*map(describe, args))}" for at, who, text, args in self.world.lines
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
    def timeout(self, txn: Txn, steps_max: int) -> None:
        self.at(self.step + self.rng.randrange(steps_max // 4, steps_max), _Timeout(self, txn))


def simulate(schedule: Schedule, seed: int, rules: Rules = KEPT, script: Script | None = None) -> History:
    """Play one history to its end. `script` comes before the schedule's faults."""
    world = SimWorld(seed, rules)
    world.lag, world.slow_replay = schedule.lag, schedule.slow_replay
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
        history.groups.append(found)
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
    history.targets = history.groups + [g for g in history.groups if g.name in ("workers", "closer")] * 2
    Client(world, [_asked(ask) for ask in schedule.asks], partitions)
    if schedule.accident is not None:
        world.at(schedule.accident.step, _Mishap(history, schedule.accident))
    if script is not None:
        direct(history, script)
    _run(history, schedule.faults)
    return history


def _asked(ask: Ask) -> Record:
    key = None if ask.id < 0 else f"r{ask.id}".encode()
    value = b"" if ask.kind == 2 else f"q{ask.id}".encode()
    headers = {1: {"kind": b"cancel"}, 3: {"timeout-ms": b"%d" % SHORT_MS}}.get(ask.kind, {})
    return Record(None, value, 0, key=key, headers=headers)


def _run(history: History, faults: tuple[Fault, ...]) -> None:
    world = history.world
    if history.schedule.late:
        stages = list(dict.fromkeys(p.group for p in history.processes if isinstance(p, StageProcess)))
        sleeper = stages[history.schedule.sleeper % len(stages)]
        for process in history.processes:
            if process.group is sleeper:
                process.is_paused = True
                world.at(history.schedule.late, _Resume(process))
    due = 0
    for fault in faults:
        due += fault.gap
        while world.step < due and world.run_one():
            pass
        if fault.when:
            patience = world.step + PATIENCE_STEPS
            while world.step < patience and not _is_met(history, fault) and world.run_one():
                pass
        _inflict(history, fault)
        due = max(due, world.step)
    while world.run_one():
        if world.step > STEPS_MAX:
            history.is_endless = True
            return


def _inflict(history: History, fault: Fault) -> None:  # noqa: PLR0912 - one branch for each fault
    world = history.world
    process = _target(history, fault.target)
    rng = world.rng
    kind = FAULTS[fault.kind % len(FAULTS)]
    steps = 20 + 40 * (fault.detail // 3 % 6)
    world.count(f"fault: {kind}")
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
    elif kind == "forget marks and crash":
        _forget_marks(history, process, fault.detail % 2)
        process.crash(fault.detail % 3, rng)
    elif kind == "commit, hold and move":
        for host in process.hosts.values():
            host.commit_now()
        process.wire.hold(steps)
        world.note(process, "has a slow wire, and is about to lose a partition")
        process.group.move(fault.detail % process.group.partitions)
    else:
        process.crash(fault.detail % 3, rng)
        world.at(world.step + 5 + steps // 4, _CrashAgain(history, fault.target, fault.detail % 3))


def _is_met(history: History, fault: Fault) -> bool:
    process = _target(history, fault.target)
    match fault.when % WHENS:
        case 1:
            return any(process.wire.links.values())
        case 2:
            return bool(process.wire.requests)
        case 3:
            return any(host.phase == HostPhase.REPLAYING for host in process.hosts.values())
        case 4:
            return any(len(link) > 1 for link in process.wire.links.values())
        case 5:
            return any(host.is_working for host in process.hosts.values())
        case 6:
            return any(host.has_marks for host in process.hosts.values())
        case 7:
            return any(host.has_transaction for host in process.hosts.values())
    return True


def _target(history: History, number: int) -> Process:
    targets = history.targets
    group = targets[number % len(targets)]
    members = [p for p in history.processes if p.group is group]
    owners = [p for p in members if p.hosts]
    return (owners or members)[number // len(targets) % len(owners or members)]


class _CrashAgain:
    def __init__(self, history: History, target: int, keep: int) -> None:
        self.history: Final = history
        self.target: Final = target
        self.keep: Final = keep

    def run(self, rng: Random) -> bool:
        _target(self.history, self.target).crash(self.keep, rng)
        return False


class _Resume:
    def __init__(self, process: Process) -> None:
        self.process: Final = process

    def run(self, rng: Random) -> bool:
        self.process.resume()
        return False


class _Mishap:
    def __init__(self, history: History, accident: Accident) -> None:
        self.history: Final = history
        self.accident: Final = accident

    def __repr__(self) -> str:
        return "operator"

    def run(self, rng: Random) -> bool:
        if self.accident.kind == 0:
            self._add_partitions(rng)
        else:
            self._delete_records(rng)
        return False

    def _add_partitions(self, rng: Random) -> None:
        history, world = self.history, self.history.world
        keyed = [group for group in history.groups if group.name != "workers"]  # lanes are no part of any key
        count = history.schedule.partitions + 1
        world.note(self, "gives every topic {} partitions", count)
        for topic in {CONTROL, "p.answers", *(topic for group in keyed for topic in group.topics)}:
            world.broker.grown[topic] = count
            world.broker.log(topic, count - 1)
        if not world.rules.fixes_partition_count:
            for group in keyed:
                group.grow()
        for process in history.processes:
            world.at(world.step + rng.randrange(200), _Restart(process, count))

    def _delete_records(self, rng: Random) -> None:
        world = self.history.world
        group = self.history.targets[self.accident.target % len(self.history.targets)]
        for topic in group.topics:
            log = world.broker.log(topic, 0)
            log.start = log.end
            world.note(self, "deletes {}[0] below {}", topic, log.end)
        _target(self.history, self.accident.target).crash(0, rng)


class _Restart:
    """With the partition count that the topics have now."""

    def __init__(self, process: Process, partitions: int) -> None:
        self.process: Final = process
        self.partitions: Final = partitions

    def run(self, rng: Random) -> bool:
        self.process.partitions = self.partitions  # type: ignore[attr-defined]
        self.process.crash(0, rng)
        return False


def _forget_marks(history: History, process: Process, kept_count: int) -> None:
    """Metadata has room for so many marks only: some are cut off."""
    offsets = history.world.broker.offsets
    for at, (offset, text) in offsets.items():
        metadata = decode_metadata(text)
        if at[0] == process.group.name and metadata is not None and metadata.marks:
            kept = SlotMetadata(metadata.epoch, metadata.answers_position, metadata.marks[:kept_count])
            offsets[at] = (offset, kept.encode())
            history.world.note(process.group, "loses marks of partition {}", at[2])
            history.world.count("marks are lost")
