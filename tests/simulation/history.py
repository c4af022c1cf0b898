"""What a history is drawn from, and what is left of it when it has been played."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.simulation.pipelines import LAST, Op, Pipeline, build
from tests.simulation.world import World, describe

if TYPE_CHECKING:
    from tests.simulation.broker import Group
    from tests.simulation.process import Process

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
    wishes: int = 0
    """How often somebody outside the flow asks for another run of what a stage gave."""
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
