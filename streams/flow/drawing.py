"""A plan as boxes and arrows, and those as Mermaid or as plain text; `streams.flow.svg` draws them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.core.plan import REQUEST, InputMode, InputPlan, Plan, StageKind, StagePlan
from streams.flow.types import type_name

ANSWER: Final = "answers"


class Shape(enum.StrEnum):
    END = "end"  # the request, and the answer
    MAP = "map"
    FORK = "fork"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Box:
    name: str
    shape: Shape
    title: str
    kind: str
    node: str
    """What there is one of for each node, as a path: `request > claims`."""
    gives: str
    key: str
    """The path that its topic is keyed by."""
    digests: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """What stands below the title."""
        if self.shape is Shape.END:
            return (self.gives, f"key: {self.key}")
        lines = (self.kind, f"one per: {self.node}", f"gives: {self.gives}", f"key: {self.key}")
        return (*lines, f"digests of: {', '.join(self.digests)}") if self.digests else lines


@dataclass(frozen=True, slots=True)
class Arrow:
    source: str
    target: str
    label: str
    """How the target takes it, where it is not one for one: `stream`, `text` or `broadcast`."""

    @property
    def is_stream(self) -> bool:
        return self.label in ("stream", "text")


@dataclass(frozen=True, slots=True)
class Drawing:
    title: str
    boxes: tuple[Box, ...]
    """In topological order: the request, the stages, the answer."""
    arrows: tuple[Arrow, ...]


def drawing(plan: Plan) -> Drawing:
    """The request, every stage and the answer, with types, depths and keys."""
    request = _end(REQUEST, "request", plan.request_type)
    answer = _end(ANSWER, "answer", plan.answer_type)
    arrows = [
        Arrow(given.source, stage.name, _label(given, stage))
        for stage in plan.stages
        for given in sorted(stage.inputs, key=lambda i: i.parameter)
    ]
    last = Arrow(plan.answer, ANSWER, "text" if plan[plan.answer].kind is StageKind.MODEL else "")
    return Drawing(
        plan.pipeline,
        (request, *(_box(stage) for stage in plan.stages), answer),
        tuple(dict.fromkeys((*arrows, last))),
    )


def to_mermaid(drawn: Drawing) -> str:
    """A flowchart in Mermaid, from the request at the top to the answer."""
    lines = ["flowchart TD"]
    for box in drawn.boxes:
        opening, closing = _MERMAID_SHAPES[box.shape]
        words = "<br/>".join(_mermaid_words(line) for line in (box.title, *box.lines))
        lines.append(f'  n_{box.name}{opening}"{words}"{closing}')
    for arrow in drawn.arrows:
        line = "==>" if arrow.is_stream else "-->"
        label = f"|{arrow.label}|" if arrow.label else ""
        lines.append(f"  n_{arrow.source} {line}{label} n_{arrow.target}")
    return "\n".join(lines) + "\n"


def to_text(drawn: Drawing) -> str:
    """One line a box, with what it reads, in columns."""
    rows: list[tuple[str, ...]] = [("STAGE", "READS", "KIND", "ONE PER", "GIVES", "KEY", "DIGESTS OF")]
    for box in drawn.boxes:
        reads = ", ".join(
            f"{a.source} ({a.label})" if a.label else a.source for a in drawn.arrows if a.target == box.name
        )
        rows.append((box.name, reads, box.kind, box.node, box.gives, box.key, ", ".join(box.digests)))
    if not any(box.digests for box in drawn.boxes):
        rows = [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)


_MERMAID_SHAPES: Final[Mapping[Shape, tuple[str, str]]] = {
    Shape.END: ("([", "])"),
    Shape.MAP: ("[", "]"),
    Shape.FORK: ("[/", "\\]"),
    Shape.MODEL: ("{{", "}}"),
}


def _end(name: str, title: str, gives: Any) -> Box:
    return Box(name, Shape.END, title, title, _path(()), type_name(gives), _path(()))


def _box(stage: StagePlan) -> Box:
    items = (*stage.ancestry, stage.name) if stage.kind is StageKind.FORK else stage.ancestry
    is_model = stage.kind is StageKind.MODEL
    return Box(
        name=stage.name,
        shape=Shape(stage.kind.value),
        title=stage.name,
        kind=f"model {stage.options['model']}" if is_model else stage.kind.value,
        node=_path(stage.ancestry),
        gives="text" if is_model else type_name(stage.output_type),
        key=_path(items[: stage.key_depth]),
        digests=stage.digests,
    )


def _path(ancestry: Sequence[str]) -> str:
    return " > ".join(("request", *ancestry))


def _label(given: InputPlan, stage: StagePlan) -> str:
    if given.mode is InputMode.STREAM:
        return "text" if given.is_text else "stream"
    return "broadcast" if given.depth < stage.depth else ""


def _mermaid_words(line: str) -> str:
    for character, entity in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        line = line.replace(character, entity)
    return line
