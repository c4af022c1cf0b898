"""One slot of a stage: partition i of all its inputs, decided on by records alone (PROTOCOL §§4–7).

Records, the results of runs and closures go in; effects come out, in the order in which they must happen. The slot
has no clock and does no I/O, so that a simulation can drive thousands of histories through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from streams.core.failure import Failure
from streams.core.group import Delta, Group, Instead, Region, Shape
from streams.core.lineage import Path, RunId, Serial
from streams.core.offsets import Marks, OpenOffsets, SlotMetadata
from streams.core.plan import REQUEST, StageKind
from streams.core.record import Envelope, Kind
from streams.core.revision import decode_revision
from streams.core.view import Held
from streams.errors import RecordError

HOME: Final = 0
"""The source that a slot keeps its epoch in, and that all wishes for runs of its nodes are on."""

FAN_OUT_MAX: Final = 10_000
"""Children of one fork. More is nearly always a stage that does not end; it would hold memory at every join."""


@dataclass(slots=True, eq=False)
class Request:
    """What a slot holds of one open request."""

    id: str
    serial: Serial
    deadline: int = 0
    traceparent: str = ""
    hold: bool = False
    nodes: dict[Path, Node] = field(default_factory=dict)
    broadcast: dict[Path, list[Held]] = field(default_factory=dict)
    under: dict[Path, list[Node]] = field(default_factory=dict)
    regions: dict[Path, Region] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Node:
    request: Request
    group: Group
    run: Run | None = None
    """The last run that was started and is not void."""
    failures: int = 0
    mark: bytes | None = None
    """Set when finished: what it was finished on."""

    @property
    def path(self) -> Path:
        return self.group.path


@dataclass(slots=True, eq=False)
class Run:
    id: RunId
    node: Node
    children: int = 0
    held_back: list[bytes] = field(default_factory=list)
    result: Result | None = None
    """What its function gave, until the group is complete."""
    unacked: int = 0
    is_settled: bool = False
    """Everything that it emits has been emitted."""
    is_void: bool = False

    def __repr__(self) -> str:
        return f"<run {self.id} of {self.node.group.shape.stage.name} {self.node.request.serial} {self.node.path}>"


@dataclass(frozen=True, slots=True)
class Value:
    """A map's value, or a model's prompt."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """A fork has given all its children."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Filtered."""


@dataclass(frozen=True, slots=True)
class Failed:
    failure: Failure
    unreadable: Held | None = None
    """The record that does not fit its type, if that is why."""


Result: TypeAlias = Value | Ended | Dropped | Failed


@dataclass(frozen=True, slots=True)
class Start:
    run: Run


@dataclass(frozen=True, slots=True)
class Wake:
    """More has come for a run."""

    run: Run


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is void: cancel it, ignore what it still gives."""

    run: Run


@dataclass(frozen=True, slots=True)
class Emit:
    """Produce to the stage's topic; `run` is None for a marker that is only passed on."""

    run: Run | None
    envelope: Envelope
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Route:
    """Choose a lane and produce the prompt there; `envelope` is what the text must carry."""

    run: Run
    envelope: Envelope
    value: bytes


@dataclass(frozen=True, slots=True)
class Reject:
    """The record cannot be used: dead letter, and the request fails."""

    source: int
    offset: int
    envelope: Envelope
    value: bytes | None
    error: RecordError


Effect: TypeAlias = Start | Wake | Stop | Emit | Route | Reject


class Slot:
    """A stage's slot in one incarnation of its owner, from replay on."""

    def __init__(
        self,
        shape: Shape,
        partition: int,
        *,
        metadata: SlotMetadata,
        positions: dict[int, int],
        next_n: Callable[[], int],
        is_closed: Callable[[Serial], bool],
        fan_out_max: int = FAN_OUT_MAX,
    ) -> None:
        """
        metadata    what this owner committed when it took over: its own epoch, inherited marks
        positions   source index -> committed offset, where reading starts
        next_n      the owner's run counter over all its slots, never reset
        is_closed   what `control` says so far
        """
        self.shape: Final = shape
        self.partition: Final = partition
        self.epoch: Final = metadata.epoch
        self.marks: Final = Marks(metadata.marks)
        self.offsets: Final = {source: OpenOffsets(at) for source, at in positions.items()}
        self.requests: Final[dict[Serial, Request]] = {}
        self.is_replaying = True
        self._next_n: Final = next_n
        self._is_closed: Final = is_closed
        self._fan_out_max: Final = fan_out_max
        self._accepted: Final = shape.sources.index(REQUEST) if REQUEST in shape.sources else -1
        self._plan_digest: Final = shape.plan.digest

    # -- records ---------------------------------------------------------------------------------------------------

    def record(self, source: int, offset: int, envelope: Envelope, value: bytes | None) -> Iterator[Effect]:
        """Take the next record of input `source`."""
        if source == self._accepted and envelope.serial is None:
            envelope = envelope._replace(serial=Serial(self.partition, offset))
        serial = envelope.serial
        is_wish = envelope.kind is Kind.REVISE
        relevant = serial is not None and (source != self._accepted or is_wish or envelope.kind is Kind.ITEM)
        if is_wish and envelope.stage != self._name:
            relevant = False  # of another stage that reads this topic
        if serial is None or not relevant or self._is_closed(serial):
            self.offsets[source].saw(offset, None)
            return
        self.offsets[source].saw(offset, serial)
        try:
            if envelope.plan != self._plan_digest:
                raise RecordError("the record belongs to another version of the flow", code="record.plan")
            if is_wish:
                yield from self._revise(source, offset, envelope, value, serial)
            else:
                yield from self._place(source, offset, envelope, value, serial)
        except RecordError as error:
            yield Reject(source, offset, envelope, value, error)

    def _place(
        self, source: int, offset: int, envelope: Envelope, value: bytes | None, serial: Serial
    ) -> Iterator[Effect]:
        shape, path = self.shape, envelope.path
        entries = shape.layout.entries(envelope.stage, path, envelope.lin)
        depth = len(path)
        is_plain = any(shape.stage.inputs[k].depth == depth for k in shape.inputs_of[source])
        if depth < shape.depth and not (is_plain and envelope.kind is not Kind.END):
            if source == shape.forwarder:
                yield Emit(None, envelope, value)
            return
        request = self._request(envelope, serial)
        held = Held(envelope, value, source, offset, entries)
        if depth < shape.depth:
            request.broadcast.setdefault(path, []).append(held)
            for node in tuple(request.under.get(path, ())):
                yield from self._add(node, held)
            return
        yield from self._add(self._node(request, path[: shape.depth]), held)

    def _request(self, envelope: Envelope, serial: Serial) -> Request:
        found = self.requests.get(serial)
        if found is None:
            found = self.requests[serial] = Request(envelope.id, serial)
        if not found.deadline:  # a wish can be read before anything else of its request, and names none
            found.deadline, found.traceparent, found.hold = envelope.deadline, envelope.traceparent, envelope.hold
        return found

    def _node(self, request: Request, path: Path) -> Node:
        found = request.nodes.get(path)
        if found is None:
            found = request.nodes[path] = Node(request, Group(self.shape, path, self._region(request, path)))
            for prefix in self.shape.broadcast_depths:
                request.under.setdefault(path[:prefix], []).append(found)
                for earlier in request.broadcast.get(path[:prefix], ()):
                    found.group.add(earlier)
        return found

    def _revise(
        self, source: int, offset: int, envelope: Envelope, value: bytes | None, serial: Serial
    ) -> Iterator[Effect]:
        if source != HOME:  # there all wishes of a node have one order
            raise RecordError("a wish for another run is not on the stage's home topic", code="record.revision")
        if len(envelope.path) != self.shape.depth:
            raise RecordError("a wish for another run names no node of the stage", code="record.revision")
        revision = decode_revision(value)
        own = self.shape.layout.index[self._name]
        entries = self.shape.layout.entries(envelope.stage, envelope.path, envelope.lin)
        held = Held(envelope, None, source, offset, [entry for entry in entries if entry[0][0] != own])
        node = self._node(self._request(envelope, serial), envelope.path)
        if node.group.revise(held, revision) is Delta.SUPERSEDED:
            yield from self._void(node)
            if not self.is_replaying:
                yield from self._advance(node)
                yield from self._settle_region(node)

    def _region(self, request: Request, path: Path) -> Region | None:
        meetings = self.shape.meetings
        if not meetings.compares:
            return None
        return request.regions.setdefault(path[: meetings.region_depth], Region(meetings))

    def _add(self, node: Node, held: Held) -> Iterator[Effect]:
        delta = node.group.add(held)
        if delta is Delta.NONE:
            return
        if delta is Delta.SUPERSEDED:
            yield from self._void(node)
        if not self.is_replaying:
            yield from self._advance(node)
            yield from self._settle_region(node)

    def _settle_region(self, node: Node) -> Iterator[Effect]:
        """What has come for one node may be what others waited for."""
        region = node.group.region
        if region is not None and len(region.groups) > 1 and region.agrees():
            for group in region.groups:
                run = node.request.nodes[group.path].run
                if run is not None and run.node is not node:
                    yield from self._settle(run)

    def caught_up(self) -> Iterator[Effect]:
        """The end offsets noted at takeover are reached: what no mark says is finished may run now."""
        self.is_replaying = False
        known: set[bytes] = set()
        for request in list(self.requests.values()):
            for node in list(request.nodes.values()):
                selection = node.group.selection()
                if selection in self.marks:
                    node.mark = selection
                    known.add(selection)
                else:
                    yield from self._advance(node)
        self.marks.keep_only(known)

    # -- runs ------------------------------------------------------------------------------------------------------

    def _void(self, node: Node) -> Iterator[Effect]:
        """What the node ran on is no longer current."""
        if node.mark is not None:
            self.marks.discard(node.mark)
            node.mark = None
        node.failures = 0
        if node.run is not None:
            node.run.is_void = True
            yield Stop(node.run)
            node.run = None

    def _advance(self, node: Node) -> Iterator[Effect]:
        if node.mark is not None:
            return
        group, run = node.group, node.run
        if run is not None and run.is_settled:
            return
        instead = group.instead
        if instead is not None:
            yield from self._stand_in(node, instead)
        elif run is None:
            if group.can_start:
                yield from self._start(node)
        else:
            yield Wake(run)
            yield from self._settle(run)

    def _new_run(self, node: Node) -> Run:
        node.run = Run(RunId(self.epoch, self._next_n()), node)
        return node.run

    def _start(self, node: Node) -> Iterator[Effect]:
        run, replacement = self._new_run(node), node.group.replacement
        if replacement is None or self.shape.stage.kind is not StageKind.MAP:
            yield Start(run)
        else:
            yield from self.returned(run, Value(replacement))

    def _stand_in(self, node: Node, instead: Instead) -> Iterator[Effect]:
        """A tombstone or an error among the inputs makes the output the same, without running the node."""
        if node.run is not None:
            yield from self._void(node)
        run = self._new_run(node)
        yield from self._emit_instead(run, instead.kind, instead.value)

    def _fail(self, node: Node, failure: Failure) -> Iterator[Effect]:
        yield from self._stand_in(node, Instead(Kind.ERROR, failure.encode()))

    def child(self, run: Run, value: bytes) -> Iterator[Effect]:
        """A fork's function gave its next child; it leaves at once, before the fork's own input is complete."""
        if run.is_void or run.result is not None:
            return
        if run.children == self._fan_out_max:
            message = f"more than {self._fan_out_max} children of one fork"
            yield from self.returned(run, Failed(Failure("limits.fan_out", message, self._name)))
            return
        run.children += 1
        if run.node.request.hold or self.shape.stage.digests:
            run.held_back.append(value)
        else:
            yield self._emit_child(run, run.children - 1, value)

    def returned(self, run: Run, result: Result) -> Iterator[Effect]:
        """The function is done; its value leaves when everything that it joins has come."""
        if run.is_void:
            return
        if isinstance(result, Failed):
            node = run.node
            node.failures += 1
            if node.failures <= self.shape.stage.retries and result.failure.code not in FINAL_CODES:
                failures = node.failures
                yield from self._void(node)
                node.failures = failures
                yield from self._advance(node)  # not always a call: what was refused may have been an error passed on
                return
            run.is_settled = False  # it may have returned before: what it emitted was refused
        run.result = result
        yield from self._settle(run)

    def _settle(self, run: Run) -> Iterator[Effect]:
        result, group = run.result, run.node.group
        if result is None or run.is_settled:
            return
        if isinstance(result, Failed):
            if group.may_fail:
                yield from self._fail(run.node, result.failure)
            return
        if not group.is_complete:
            return
        match result:
            case Value(value) if self.shape.stage.kind is StageKind.MODEL:
                run.is_settled, run.unacked = True, run.unacked + 1
                yield Route(run, self._envelope(run, Kind.ITEM, run.node.path), value)
            case Value(value):
                run.is_settled = True
                yield self._emit(run, Kind.ITEM, run.node.path, value)
            case Ended():
                for index, value in enumerate(run.held_back):
                    yield self._emit_child(run, index, value)
                run.held_back = []
                run.is_settled = True
                yield self._emit(run, Kind.END, run.node.path, None, total=run.children)
            case Dropped():
                yield from self._emit_instead(run, Kind.TOMBSTONE, None)

    def _emit_instead(self, run: Run, kind: Kind, value: bytes | None) -> Iterator[Effect]:
        run.is_settled = True
        yield self._emit(run, kind, run.node.path, value)

    def _emit_child(self, run: Run, index: int, value: bytes) -> Emit:
        return self._emit(run, Kind.ITEM, (*run.node.path, index), value)

    def _emit(self, run: Run, kind: Kind, path: Path, value: bytes | None, total: int = 0) -> Emit:
        run.unacked += 1
        return Emit(run, self._envelope(run, kind, path, total), value)

    def _envelope(self, run: Run, kind: Kind, path: Path, total: int = 0) -> Envelope:
        request, group = run.node.request, run.node.group
        return Envelope(
            id=request.id,
            kind=kind,
            serial=request.serial,
            plan=self._plan_digest,
            stage=self._name,
            path=path,
            lin=group.lineage(run.id),
            deadline=request.deadline,
            traceparent=request.traceparent,
            hold=request.hold,
            total=total,
            revisions=len(group.revisions),
            digests=group.digests(),
        )

    @property
    def _name(self) -> str:
        return self.shape.stage.name

    def acked(self, run: Run) -> None:
        """The broker has one more record of this run; it is finished, and marked, when it has all (PROTOCOL §4.1)."""
        run.unacked -= 1
        if run.is_settled and not run.unacked and not run.is_void and run.node.request.serial in self.requests:
            run.node.mark = run.node.group.selection()
            self.marks.add(run.node.mark)

    # -- closing and committing ------------------------------------------------------------------------------------

    def closed(self, serial: Serial) -> Iterator[Effect]:
        """The request has its answer: nothing of it is needed any more."""
        for offsets in self.offsets.values():
            offsets.close(serial)
        request = self.requests.pop(serial, None)
        if request is not None:
            for node in request.nodes.values():
                yield from self._void(node)
            # Requests and nodes name each other: taken apart, they are freed at once and not by the garbage collector.
            request.nodes.clear()
            request.under.clear()

    def committable(self) -> tuple[dict[int, int], SlotMetadata]:
        """Source index -> offset, and the metadata for the home partition (source 0)."""
        return (
            {source: offsets.committable for source, offsets in self.offsets.items()},
            SlotMetadata(self.epoch, marks=self.marks.newest()),
        )


FINAL_CODES: Final = frozenset({"limits.record", "limits.fan_out", "model.prompt", "model.unknown", "record.schema"})
"""Failures that a further run would only repeat."""
