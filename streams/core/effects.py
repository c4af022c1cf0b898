"""What a slot holds of its requests, what runs give it, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from streams.core.failure import Failure
from streams.core.group import Group, Region
from streams.core.lineage import Path, RunId, Serial
from streams.core.record import Envelope
from streams.core.view import Held
from streams.errors import RecordError


@dataclass(slots=True, eq=False)
class Request:
    """What a slot holds of one open request; what most stages never need is made when it is."""

    id: str
    serial: Serial
    deadline: int = 0
    traceparent: str = ""
    hold: bool = False
    nodes: dict[Path, Node] = field(default_factory=dict)
    broadcast: dict[Path, list[Held]] | None = None
    under: dict[Path, list[Node]] | None = None
    regions: dict[Path, Region] | None = None


@dataclass(slots=True, eq=False)
class Node:
    request: Request
    group: Group
    run: Run | None = None
    """The last run that was started and is not void."""
    failures: int = 0
    is_finished: bool = False
    mark: bytes | None = None
    """What it was finished on; made when it is first written."""

    @property
    def path(self) -> Path:
        return self.group.path


@dataclass(slots=True, eq=False)
class Run:
    id: RunId
    node: Node
    children: int = 0
    held_back: list[bytes] | None = None
    result: Result | None = None
    """What its function gave, until it leaves."""
    unacked: int = 0
    is_settled: bool = False
    """Everything that it emits has been emitted."""
    is_void: bool = False

    def __repr__(self) -> str:
        return f"<run {self.id} of {self.node.group.shape.stage.name} {self.node.request.serial} {self.node.path}>"


# Results and effects are made for every record: a frozen dataclass would take three times as long.


@dataclass(slots=True)
class Value:
    """A map's value, or a model's prompt."""

    value: bytes


@dataclass(slots=True)
class Ended:
    """A fork has given all its children."""


@dataclass(slots=True)
class Dropped:
    """Filtered."""


@dataclass(slots=True)
class Failed:
    failure: Failure
    unreadable: Held | None = None
    """The record that does not fit its type, if that is why."""


Result: TypeAlias = Value | Ended | Dropped | Failed


@dataclass(slots=True)
class Start:
    run: Run


@dataclass(slots=True)
class Wake:
    """More has come for a run."""

    run: Run


@dataclass(slots=True)
class Stop:
    """The run is void: cancel it, ignore what it still gives."""

    run: Run


@dataclass(slots=True)
class Emit:
    """Produce to the stage's topic; `run` is None for a marker that is only passed on."""

    run: Run | None
    envelope: Envelope
    value: bytes | None


@dataclass(slots=True)
class Route:
    """Choose a lane and produce the prompt there; `envelope` is what the text must carry."""

    run: Run
    envelope: Envelope
    value: bytes


@dataclass(slots=True)
class Reject:
    """The record cannot be used: dead letter, and the request fails."""

    source: int
    offset: int
    envelope: Envelope
    value: bytes | None
    error: RecordError


Effect: TypeAlias = Start | Wake | Stop | Emit | Route | Reject
