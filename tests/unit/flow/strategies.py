"""Random flows whose inputs can be joined, made of generated stage functions; what is known of them by construction."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from streams.core.plan import REQUEST, InputMode, StageKind
from streams.flow import Pipeline, Prompt, Stream

Ancestry = tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    """One stage: `inputs` are (source, mode), in the order of its parameters p0, p1, ..."""

    name: str
    kind: StageKind
    inputs: tuple[tuple[str, InputMode], ...]
    ancestry: Ancestry

    @property
    def out(self) -> Ancestry:
        return (*self.ancestry, self.name) if self.kind is StageKind.FORK else self.ancestry

    @property
    def is_text(self) -> bool:
        return self.kind is StageKind.MODEL


ROOT = Spec(REQUEST, StageKind.MAP, (), ())


@st.composite
def flows(draw: st.DrawFn, stages_max: int = 8) -> list[Spec]:
    """Specs in topological order, the last one being the answer; every stage leads to it."""
    made = [ROOT]
    if draw(st.booleans()):  # where ways part and meet again: many maps around one fork, each with two inputs
        fork = Spec("fork", StageKind.FORK, ((REQUEST, InputMode.ITEM),), ())
        made += [fork, Spec("shared", StageKind.MAP, (("fork", InputMode.ITEM),), fork.out)]
        for number in range(stages_max):
            made.append(_stage(draw, f"s{number}", StageKind.MAP, made, others_min=number % 2))
    else:
        for number in range(draw(st.integers(1, stages_max))):
            made.append(_stage(draw, f"s{number}", draw(st.sampled_from(list(StageKind))), made))
    unread = [s for s in made[1:] if not any((s.name, mode) in t.inputs for t in made for mode in InputMode)]
    for spec in list(unread):
        if spec.is_text:  # a text is read at its own level, before anything is joined
            reader = Spec(f"r{spec.name}", StageKind.MAP, ((spec.name, InputMode.STREAM),), spec.ancestry)
            made.append(reader)
            unread[unread.index(spec)] = reader
    inputs = [(s.name, InputMode.STREAM if s.out else InputMode.ITEM) for s in unread]
    made.append(Spec("last", StageKind.MAP, ((REQUEST, InputMode.ITEM), *inputs), ()))
    return made[1:]


def _stage(draw: st.DrawFn, name: str, kind: StageKind, made: list[Spec], others_min: int = 0) -> Spec:
    nodes = {s.out[:n] for s in made for n in range(len(s.out) + 1)}
    node = draw(st.sampled_from(sorted(nodes, key=lambda n: (-len(n), n))))
    items = [s for s in made if not s.is_text]
    plain = [s for s in items if s.out == node[: len(s.out)]]
    fixing = [s for s in plain if s.out == node]
    below = [s for s in items if len(s.out) > len(node) and s.out[: len(node)] == node]
    texts = [s for s in made if s.is_text and s.out == node]
    next_below = [s for s in below if len(s.out) == len(node) + 1]
    with_plain = bool(fixing) and (not (next_below or texts) or draw(st.booleans()))
    if with_plain:
        first = draw(st.sampled_from(fixing))
        chosen = [(first, InputMode.ITEM)]
        others = [(s, InputMode.ITEM) for s in plain] + [(s, InputMode.STREAM) for s in (*below, *texts)]
    else:
        # Every prefix of an ancestry is that of the node of a fork or of its items, so one of these is there.
        first = draw(st.sampled_from(next_below + texts))
        chosen = [(first, InputMode.STREAM)]
        others = [(s, InputMode.STREAM) for s in (*next_below, *texts)]
    others = [other for other in others if other[0] is not first]
    least = min(others_min, len(others))
    if others:
        chosen += draw(
            st.lists(st.sampled_from(others[::-1]), min_size=least, max_size=2, unique_by=lambda o: o[0].name)
        )
    return Spec(name, kind, tuple((s.name, mode) for s, mode in chosen), node)


def build(specs: list[Spec]) -> Pipeline:
    """A pipeline with one generated function per spec, whose values are all ints."""
    pipeline = Pipeline("generated")
    stages = {spec.name: _declare(pipeline, spec, specs) for spec in specs}

    def flow(request: int) -> int:
        handles: dict[str, Any] = {REQUEST: request}
        for spec in specs:
            handles[spec.name] = stages[spec.name](*(handles[source] for source, _ in spec.inputs))
        return handles[specs[-1].name]  # type: ignore[no-any-return]

    pipeline.flow(flow)
    return pipeline


def _declare(pipeline: Pipeline, spec: Spec, specs: list[Spec]) -> Any:
    texts = {s.name for s in specs if s.is_text}
    item = inspect.Parameter.POSITIONAL_OR_KEYWORD
    hints: dict[str, Any] = {
        f"p{number}": int if mode is InputMode.ITEM else Stream[str] if source in texts else Stream[int]
        for number, (source, mode) in enumerate(spec.inputs)
    }
    parameters = [inspect.Parameter(name, item) for name in hints]
    function: Callable[..., Any]
    if spec.kind is StageKind.FORK:

        async def fork(*_: Any) -> AsyncIterator[int]:
            yield 1

        function, hints["return"] = fork, AsyncIterator[int]
    else:

        async def value(*_: Any) -> Any:
            return 1

        function, hints["return"] = value, Prompt if spec.is_text else int
    function.__name__ = spec.name
    function.__annotations__ = hints
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[union-attr]
    return pipeline.model("any")(function) if spec.is_text else pipeline.stage(function)
