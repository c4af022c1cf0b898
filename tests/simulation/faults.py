"""What goes wrong: faults of processes and links, and accidents of operators."""

from __future__ import annotations

from random import Random
from typing import Final

from streams.core.offsets import SlotMetadata, decode_metadata
from tests.simulation.history import FAULTS, WHENS, Accident, Fault, History
from tests.simulation.host import Phase as HostPhase
from tests.simulation.process import CONTROL, Process


def inflict(history: History, fault: Fault) -> None:  # noqa: PLR0912 - one branch for each fault
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
        world.at(world.step + steps, Resume(process))
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


def is_met(history: History, fault: Fault) -> bool:
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


class Resume:
    def __init__(self, process: Process) -> None:
        self.process: Final = process

    def run(self, rng: Random) -> bool:
        self.process.resume()
        return False


class Mishap:
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
