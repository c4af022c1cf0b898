"""One history: a pipeline, some requests, a seed, and faults; run until nothing can happen any more."""

from __future__ import annotations

from random import Random
from typing import Final

from streams.core.group import Shape
from streams.core.lineage import Layout
from streams.core.plan import REQUEST, StageKind
from tests.simulation.broker import Group, Record, Txn
from tests.simulation.closing import CloserProcess, closer_stage
from tests.simulation.directed import Script, direct
from tests.simulation.faults import Mishap, Resume, inflict, is_met
from tests.simulation.functions import Habits
from tests.simulation.history import Ask, Fault, History, Schedule
from tests.simulation.ingesting import REQUESTS, SHORT_MS, Client, IngressProcess
from tests.simulation.process import CONTROL, Process
from tests.simulation.rules import KEPT, Rules
from tests.simulation.stages import StageProcess
from tests.simulation.wishing import Wisher
from tests.simulation.workers import WorkerProcess
from tests.simulation.world import World

STEPS_MAX: Final = 30_000
"""Far more than any of these small histories needs: a history that gets here goes round in circles."""

PATIENCE_STEPS: Final = 150
"""Longest wait for the moment that a fault asks for."""


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
    if schedule.wishes:
        Wisher(world, plan, partitions, schedule.wishes)
    if schedule.accident is not None:
        world.at(schedule.accident.step, Mishap(history, schedule.accident))
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
                world.at(history.schedule.late, Resume(process))
    due = 0
    for fault in faults:
        due += fault.gap
        while world.step < due and world.run_one():
            pass
        if fault.when:
            patience = world.step + PATIENCE_STEPS
            while world.step < patience and not is_met(history, fault) and world.run_one():
                pass
        inflict(history, fault)
        due = max(due, world.step)
    while world.run_one():
        if world.step > STEPS_MAX:
            history.is_endless = True
            return
