"""Directed histories: what happens is written down, and the scheduler fills in the rest.

A script is a generator. It changes something, yields the moment for which it waits, and goes on when that has come or
has not come for some time, so that the same script can be played with and without a flaw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias

from streams.core.offsets import SlotMetadata, decode_metadata
from streams.core.record import Envelope
from tests.simulation.host import Phase
from tests.simulation.stages import StageHost

if TYPE_CHECKING:
    from tests.simulation.broker import Group
    from tests.simulation.history import History
    from tests.simulation.process import Process

Moment: TypeAlias = Callable[[], bool]
Script: TypeAlias = Callable[["Play"], Iterator[Moment]]

WAIT_STEPS: Final = 600
"""Longest wait for a moment: it comes within some hundred steps, if at all."""


class Play:
    """What a script may do to the groups of a history, by the name of their stage. All have one partition."""

    def __init__(self, history: History) -> None:
        self._history: Final = history
        self._groups: Final = {group.name: group for group in history.groups}
        self._rng: Final[Random] = history.world.rng

    def group(self, stage: str) -> Group:
        return self._groups[stage]

    def _members(self, stage: str) -> list[Process]:
        return [p for p in self._history.processes if p.group.name == stage]

    # -- what is done ----------------------------------------------------------------------------------------------

    def sleep(self, stage: str) -> None:
        for process in self._members(stage):
            process.is_paused = True

    def wake(self, stage: str) -> None:
        for process in self._members(stage):
            process.resume()

    def kill_owner(self, stage: str) -> None:
        """What it has in flight lands all the same."""
        next(p for p in self._members(stage) if p.hosts).crash(0, self._rng)

    def forget_marks(self, stage: str) -> None:
        """They were cut off, or never committed."""
        offsets = self._history.world.broker.offsets
        for at, (offset, text) in offsets.items():
            found = decode_metadata(text)
            if at[0] == stage and found is not None:
                offsets[at] = (offset, SlotMetadata(found.epoch, found.answers_position).encode())

    def gate(self, stage: str, source: str, below: int) -> None:
        """Its members read no record of this input at or above the offset, until `open_gates`."""
        self.group(stage).gates[f"p.{source}"] = below

    def open_gates(self, stage: str) -> None:
        self.group(stage).gates.clear()
        self.group(stage).reads_all = True
        for process in self._members(stage):
            self._history.world.wake(process)

    def release(self) -> None:
        for name, group in self._groups.items():
            group.gates.clear()
            group.reads_all = False
            self.wake(name)

    # -- what is seen ----------------------------------------------------------------------------------------------

    def written(self, stage: str) -> list[Envelope]:
        """What has landed of this stage's output."""
        records = self._history.world.broker.log(f"p.{stage}", 0).records
        return [record.envelope for record in records if record.envelope is not None]

    def host(self, stage: str) -> StageHost | None:
        hosts = [host for process in self._members(stage) for host in process.hosts.values()]
        return next((h for h in hosts if isinstance(h, StageHost) and h.phase >= Phase.REPLAYING), None)

    def epoch(self, stage: str) -> int:
        host = self.host(stage)
        return host.metadata.epoch if host is not None else 0

    def has_replayed(self, stage: str) -> bool:
        host = self.host(stage)
        return host is not None and host.phase == Phase.ACTIVE

    def has_marked(self, stage: str) -> bool:
        """Every node that its owner holds is finished."""
        host = self.host(stage)
        nodes = [node for r in host.slot.requests.values() for node in r.nodes.values()] if host is not None else []
        return bool(nodes) and all(node.is_finished for node in nodes)

    def is_finished(self, stage: str) -> bool:
        """Every node that its owner holds is marked, and the marks are committed."""
        host = self.host(stage)
        if host is None or host.is_dirty or host.is_committing:
            return False
        _, text = self._history.world.broker.offsets[stage, host.topics[0], 0]
        found = decode_metadata(text)
        committed = set(found.marks) if found is not None else set()
        known = set(host.slot.committable()[1].marks)
        return self.has_marked(stage) and known <= committed


def direct(history: History, script: Script) -> None:
    """Play a script to its end; moments that never came are noted in `history.missed`, counted from 1."""
    world, play = history.world, Play(history)
    for number, has_come in enumerate(script(play), 1):
        ends_at = world.step + WAIT_STEPS
        while not has_come() and world.step < ends_at and world.run_one():
            pass
        if not has_come():
            history.missed.append(number)
    play.release()
