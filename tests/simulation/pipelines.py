"""Generated pipelines: a short list of numbers becomes a flow of maps, forks, joins, broadcasts, diamonds and models.

The flow is traced by streams.flow itself, so that the plans are those that users get.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

from streams.core.plan import REQUEST, InputMode, OnError, Plan, StageKind
from streams.flow.definition import StageDefinition
from streams.flow.errors import RefusedFlowError
from streams.flow.handle import Handle, origin_of
from streams.flow.signature import Parameter, StageSignature
from streams.flow.trace import Trace
from tests.simulation.functions import Habits

STAGES_MAX = 8
DEPTH_MAX = 2


class Op(NamedTuple):
    """One stage: what it does, and which of the earlier outputs it is given."""

    kind: int = 0
    """0 map, 1 fork, 2 join, 3 model, 4 join that forks"""
    first: int = 0
    """Counted back from the latest."""
    second: int = 0
    """0: none; else one more, counted from the request."""
    habits: int = 0
    """See `_habits`."""
    on_error: int = 0


LAST = Op()


@dataclass(frozen=True, slots=True)
class Pipeline:
    plan: Plan
    habits: dict[str, Habits]

    def __hash__(self) -> int:
        return id(self)

    def describe(self) -> str:
        lines = []
        for stage in self.plan.stages:
            inputs = ", ".join(
                f"{i.source}{'*' if i.mode is InputMode.STREAM else ''}{' text' if i.is_text else ''}"
                for i in stage.inputs
            )
            lines.append(
                f"  {stage.name} = {stage.kind}({inputs}) at {'/'.join(stage.ancestry) or 'root'}, "
                f"key depth {stage.key_depth}, lin {','.join(stage.lineage)}"
                + (f", digests {','.join(stage.digests)}" if stage.digests else "")
                + f", on_error {stage.on_error}, {self.habits[stage.name]}"
            )
        return "\n".join([*lines, f"  answer: {self.plan.answer}"])


def _habits(number: int) -> Habits:
    return (
        Habits(),
        Habits(children_max=3),
        Habits(drop_chance=0.3),
        Habits(is_unordered=True, children_max=3),
        Habits(fail_chance=0.3),
        Habits(is_early=True),
        Habits(fail_chance=1.0),
        Habits(children_max=1, text_fail_chance=0.3),
    )[number % 8]


HABITS = 8


class _Builder:
    def __init__(self) -> None:
        self.trace = Trace("p", str)
        self.outputs: list[Handle] = [self.trace.request()]
        self.habits: dict[str, Habits] = {}
        self.used: set[str] = set()

    def add(self, op: Op, name: str) -> None:
        handle = self.outputs[len(self.outputs) - 1 - op.first % len(self.outputs)]
        origin = origin_of(handle)
        chosen = {"a": handle}
        modes = {"a": InputMode.STREAM if origin.is_text else InputMode.ITEM}
        if op.kind in (2, 4) and origin.ancestry and not origin.is_text:
            modes["a"] = InputMode.STREAM
        node = origin.ancestry
        if modes["a"] is InputMode.STREAM and not origin.is_text:
            node = node[:-1]
        if op.second:
            other = self.outputs[op.second % len(self.outputs)]
            if other is not handle:
                chosen["b"] = other
                second = origin_of(other)
                is_stream = second.is_text or len(second.ancestry) > len(node)
                modes["b"] = InputMode.STREAM if is_stream else InputMode.ITEM
        kind = (StageKind.MAP, StageKind.FORK, StageKind.MAP, StageKind.MODEL, StageKind.FORK)[op.kind % 5]
        if kind is StageKind.FORK and len(node) >= DEPTH_MAX:
            kind = StageKind.MAP
        try:
            self._call(name, kind, chosen, modes, op)
        except RefusedFlowError:
            if "b" in chosen:
                self._call(name, kind, {"a": handle}, modes, op)

    def _call(self, name: str, kind: StageKind, chosen: dict[str, Handle], modes: dict[str, InputMode], op: Op) -> None:
        on_error = (OnError.FAIL, OnError.FAIL, OnError.DROP, OnError.PASS)[op.on_error % 4]
        passes = on_error is OnError.PASS
        parameters = tuple(Parameter(p, modes[p], str, passes, True) for p in chosen)
        options = {"model": "m"} if kind is StageKind.MODEL else {}
        signature = StageSignature(kind, parameters, str)
        stage = StageDefinition(name, _no_function, signature, 1, on_error, None, options)
        handle = self.trace.call(stage, chosen)
        self.outputs.append(handle)
        self.habits[name] = _habits(op.habits)
        self.used.update(origin_of(h).source for h in chosen.values())

    def unused(self) -> list[Handle]:
        return [h for h in self.outputs if origin_of(h).source not in self.used and origin_of(h).source != REQUEST]


def _no_function() -> None:
    """Calls are played by tests.simulation.functions."""


@functools.lru_cache(maxsize=10_000)
def build(ops: tuple[Op, ...], last: Op = LAST) -> Pipeline:
    """The flow that these numbers describe; everything that nobody uses goes to a last stage, at the root.

    What flows refuse as a whole (two ways that could not be compared) is built with fewer connections, or stages."""
    simpler = tuple(op._replace(second=0) for op in ops)
    for tried in (ops, *(simpler[:count] for count in range(len(ops), 0, -1))):
        try:
            return _build(tried, last)
        except RefusedFlowError:
            continue
    return _build((), last)


def _build(ops: tuple[Op, ...], last: Op) -> Pipeline:
    builder = _Builder()
    for number, op in enumerate(ops[:STAGES_MAX]):
        # Names decide which partition is a slot's home: some sort before "accepted", some after.
        builder.add(op, f"{'aw'[number % 2]}{number}")
    for number, handle in enumerate(builder.unused()):
        origin = origin_of(handle)
        if origin.is_text and origin.ancestry:  # a text is read at its own level
            builder._call(f"read{number}", StageKind.MAP, {"a": handle}, {"a": InputMode.STREAM}, Op())
    unused = builder.unused()
    if len(unused) != 1 or origin_of(unused[0]).ancestry or last.first % 2:
        chosen, modes = {"r": builder.outputs[0]}, {"r": InputMode.ITEM}
        for number, handle in enumerate(unused):
            origin = origin_of(handle)
            chosen[f"p{number}"] = handle
            modes[f"p{number}"] = InputMode.STREAM if origin.is_text or origin.ancestry else InputMode.ITEM
        kind = StageKind.MODEL if last.kind % 5 == 3 else StageKind.MAP
        builder._call("last", kind, chosen, modes, last)
        unused = builder.unused()
    plan = builder.trace.plan(unused[0], answer_annotation=str, declared=())
    return Pipeline(plan, builder.habits)
