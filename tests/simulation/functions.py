"""What stages compute: functions that differ on every run, and say truly what they were given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from streams.core.branches import Next
from streams.core.effects import Dropped, Ended, Failed, Result, Run, Value
from streams.core.failure import Failure
from streams.core.plan import InputMode, OnError, StageKind
from streams.core.record import Kind
from streams.core.text import Piece
from streams.core.view import Held
from tests.simulation.truth import Taken
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Habits:
    """How a stage's function behaves; drawn with the pipeline."""

    children_max: int = 2
    drop_chance: float = 0.0
    fail_chance: float = 0.0
    is_early: bool = False
    is_unordered: bool = False
    text_fail_chance: float = 0.0


class Call:
    """A function under way for one run."""

    def __init__(self, world: World, run: Run, habits: Habits) -> None:
        self.run: Final = run
        self.world: Final = world
        self.habits: Final = habits
        node = run.node
        shape = node.group.shape
        self.stage: Final = shape.stage
        self.execution: Final = world.truth.execution(
            node.request.serial, self.stage.name, node.path, run.id, world.step
        )
        self.is_over = False
        self.next_at = 0
        rng = world.rng
        self._left = rng.randrange(habits.children_max + 1) if self.stage.kind is StageKind.FORK else 0
        self._fails = rng.random() < habits.fail_chance
        self._drops = rng.random() < habits.drop_chance
        self._quits = habits.is_early and rng.random() < 0.5
        self._plain_taken = False
        self._streams: list[tuple[str, Iterator[Held | Next] | Iterator[Piece | Next], bool]] = []

    def advance(self, rng: Random) -> bytes | Result | None:  # noqa: PLR0912 - one branch for each way to go on
        """One step: a child's value, the result, or None when it has to wait."""
        group = self.run.node.group
        if not self._plain_taken:
            self._plain_taken = True
            for k, plan in enumerate(self.stage.inputs):
                if plan.mode is InputMode.ITEM:
                    self._take(plan.parameter, group.plain(k))
                elif plan.is_text:
                    self.execution.tokens[plan.parameter] = []
                    self._streams.append((plan.parameter, group.pieces(k), True))
                else:
                    self.execution.items[plan.parameter] = []
                    branches = group.branches(k)
                    found = branches.as_they_come() if self.habits.is_unordered else branches.in_order()
                    self._streams.append((plan.parameter, found, False))
        if self._quits:
            self.execution.is_early = True
            self._streams = []
        while self._streams:
            index = rng.randrange(len(self._streams))
            if not self._consume(index):
                if all(not self._consume(i) for i in range(len(self._streams) - 1, -1, -1)) and self._streams:
                    return None
                continue
            if self._left and rng.random() < 0.5:
                return self._child()
        if self._fails and rng.random() < 0.7:
            return self._over("failed", Failed(Failure("stage.raised", f"#{self.execution.number}", self.stage.name)))
        if self.stage.kind is StageKind.FORK:
            return self._child() if self._left else self._over("ended", Ended())
        if self._drops:
            return self._over("dropped", Dropped())
        return self._over("value", Value(self.world.truth.value(self.execution)))

    def _child(self) -> bytes:
        self._left -= 1
        self.execution.children += 1
        return self.world.truth.value(self.execution, self.execution.children - 1)

    def _over(self, outcome: str, result: Result) -> Result:
        self.is_over = True
        self.execution.outcome = outcome
        return result

    def _consume(self, index: int) -> bool:
        """Take the next thing of one stream; False if it has to be waited for."""
        if index >= len(self._streams):
            return False
        parameter, stream, is_text = self._streams[index]
        found = next(stream)
        if found is Next.WAIT:
            return False
        if found is Next.OVER:
            del self._streams[index]
            if is_text:
                self._text_over(parameter)
        elif isinstance(found, Held):
            self._take(parameter, found)
        elif isinstance(found, Piece):
            self.execution.tokens[parameter].extend(found.token_ids)
        return True

    def _text_over(self, parameter: str) -> None:
        group = self.run.node.group
        for k, plan in enumerate(self.stage.inputs):
            if plan.parameter == parameter:
                error = group.text_error(k)
                why = "error" if error is not None else ""
                self.execution.texts[parameter] = (plan.source, self.run.node.path, why)

    def _take(self, parameter: str, held: Held) -> None:
        kind = held.envelope.kind
        if kind is Kind.ERROR and self.stage.on_error is OnError.DROP:
            kind = Kind.TOMBSTONE
        taken = Taken(kind.value, held.envelope.path, held.value, held.envelope)
        self.execution.items.setdefault(parameter, []).append(taken)
