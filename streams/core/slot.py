"""One slot of a stage: partition i of all its inputs, decided on by records alone (PROTOCOL §§4–7).

Records, the results of runs and closures go in; effects come out, in the order in which they must happen. The slot
has no clock and does no I/O, so that a simulation can drive thousands of histories through it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from streams.core.effects import (
    Dropped,
    Effect,
    Emit,
    Ended,
    Failed,
    Node,
    Reject,
    Request,
    Result,
    Route,
    Run,
    Start,
    Stop,
    Value,
    Wake,
)
from streams.core.failure import Failure
from streams.core.group import Delta, Group, Instead, Region, Shape
from streams.core.lineage import Path, RunId, Serial
from streams.core.offsets import MARKS_MAX, Marks, OpenOffsets, SlotMetadata
from streams.core.plan import REQUEST, StageKind
from streams.core.record import Envelope, Kind
from streams.core.revision import decode_revision
from streams.core.view import Held
from streams.errors import RecordError

HOME: Final = 0
"""The source that a slot keeps its epoch in, and that all wishes for runs of its nodes are on."""

FAN_OUT_MAX: Final = 10_000
"""Children of one fork. More is nearly always a stage that does not end; it would hold memory at every join."""


class Slot:
    """A stage's slot in one incarnation of its owner, from replay on.

    Every method gives its effects as one list, in order; those with `out` add theirs to the caller's.
    """

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
        self._name: Final = shape.stage.name
        self._unmarked: Final[dict[Node, None]] = {}
        """Finished since marks were last written, oldest first."""

    # -- records ---------------------------------------------------------------------------------------------------

    def record(self, source: int, offset: int, envelope: Envelope, value: bytes | None) -> list[Effect]:
        """Take the next record of input `source`."""
        serial = envelope.serial
        is_accepted = source == self._accepted
        if is_accepted and serial is None:
            serial = Serial(self.partition, offset)
        is_wish = envelope.kind is Kind.REVISE
        relevant = serial is not None and (not is_accepted or is_wish or envelope.kind is Kind.ITEM)
        if is_wish and envelope.stage != self._name:
            relevant = False  # of another stage that reads this topic
        if serial is None or not relevant or self._is_closed(serial):
            self.offsets[source].saw(offset, None)
            return []
        self.offsets[source].saw(offset, serial)
        out: list[Effect] = []
        try:
            if envelope.plan != self._plan_digest:
                raise RecordError("the record belongs to another version of the flow", code="record.plan")
            if is_wish:
                self._revise(source, offset, envelope, value, serial, out)
            else:
                self._place(source, offset, envelope, value, serial, out)
        except RecordError as error:
            if envelope.serial is None:
                envelope = envelope._replace(serial=serial)
            out.append(Reject(source, offset, envelope, value, error))
        return out

    def _place(
        self, source: int, offset: int, envelope: Envelope, value: bytes | None, serial: Serial, out: list[Effect]
    ) -> None:
        shape, path = self.shape, envelope.path
        held = Held(envelope, value, source, offset, shape.layout.entries(envelope.stage, path, envelope.lin))
        depth = len(path)
        if depth < shape.depth and (envelope.kind is Kind.END or depth not in shape.input_depths[source]):
            if source == shape.forwarder:
                out.append(Emit(None, envelope, value))
            return
        request = self._request(envelope, serial)
        if depth < shape.depth:
            if request.broadcast is None:
                request.broadcast = {}
            request.broadcast.setdefault(path, []).append(held)
            for node in tuple(request.under.get(path, ())) if request.under is not None else ():
                self._add(node, held, out)
            return
        self._add(self._node(request, path[: shape.depth]), held, out)

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
            found = request.nodes[path] = self._new_node(request, path)
        return found

    def _revise(
        self, source: int, offset: int, envelope: Envelope, value: bytes | None, serial: Serial, out: list[Effect]
    ) -> None:
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
            self._void(node, out)
            if not self.is_replaying:
                self._advance(node, out)
                self._settle_region(node, out)

    def _new_node(self, request: Request, path: Path) -> Node:
        """With what was broadcast to it before it was known."""
        shape = self.shape
        region: Region | None = None
        if shape.meetings.compares:
            if request.regions is None:
                request.regions = {}
            region = request.regions.setdefault(path[: shape.meetings.region_depth], Region(shape.meetings))
        node = Node(request, Group(shape, path, region))
        for depth in shape.broadcast_depths:
            if request.under is None:
                request.under = {}
            request.under.setdefault(path[:depth], []).append(node)
            if request.broadcast is not None:
                for earlier in request.broadcast.get(path[:depth], ()):
                    node.group.add(earlier)
        return node

    def _add(self, node: Node, held: Held, out: list[Effect]) -> None:
        delta = node.group.add(held)
        if delta is Delta.NONE:
            return
        if delta is Delta.SUPERSEDED:
            self._void(node, out)
        if not self.is_replaying:
            self._advance(node, out)
            self._settle_region(node, out)

    def _settle_region(self, node: Node, out: list[Effect]) -> None:
        """What has come for one node may be what others waited for."""
        region = node.group.region
        if region is not None and len(region.groups) > 1 and region.agrees():
            for group in region.groups:
                run = node.request.nodes[group.path].run
                if run is not None and run.node is not node:
                    self._settle(run, out)

    def caught_up(self) -> list[Effect]:
        """The end offsets noted at takeover are reached: what no mark says is finished may run now."""
        self.is_replaying = False
        known: set[bytes] = set()
        out: list[Effect] = []
        for request in self.requests.values():
            for node in request.nodes.values():
                selection = node.group.selection()
                if selection in self.marks:
                    node.is_finished, node.mark = True, selection
                    known.add(selection)
                else:
                    self._advance(node, out)
        self.marks.keep_only(known)
        return out

    # -- runs ------------------------------------------------------------------------------------------------------

    def _void(self, node: Node, out: list[Effect]) -> None:
        """What the node ran on is no longer current."""
        if node.is_finished:
            node.is_finished = False
            if node.mark is not None:
                self.marks.discard(node.mark)
                node.mark = None
            else:
                self._unmarked.pop(node, None)
        node.failures = 0
        if node.run is not None:
            node.run.is_void = True
            out.append(Stop(node.run))
            node.run = None

    def _advance(self, node: Node, out: list[Effect]) -> None:
        if node.is_finished:
            return
        group, run = node.group, node.run
        if run is not None and run.is_settled:
            return
        instead = group.instead
        if instead is not None:
            self._stand_in(node, instead, out)
        elif run is None:
            if group.can_start:
                self._start(node, out)
        else:
            out.append(Wake(run))
            if run.result is not None:
                self._settle(run, out)

    def _new_run(self, node: Node) -> Run:
        node.run = Run(RunId(self.epoch, self._next_n()), node)
        return node.run

    def _start(self, node: Node, out: list[Effect]) -> None:
        run, replacement = self._new_run(node), node.group.replacement
        if replacement is None or self.shape.stage.kind is not StageKind.MAP:
            out.append(Start(run))
        else:
            out += self.returned(run, Value(replacement))

    def _stand_in(self, node: Node, instead: Instead, out: list[Effect]) -> None:
        """A tombstone or an error among the inputs makes the output the same, without running the node."""
        if node.run is not None:
            self._void(node, out)
        self._emit_instead(self._new_run(node), instead.kind, instead.value, out)

    def child(self, run: Run, value: bytes) -> list[Effect]:
        """A fork's function gave its next child; it leaves at once, before the fork's own input is complete."""
        if run.is_void or run.is_settled or run.result is not None:
            return []
        if run.children == self._fan_out_max:
            message = f"more than {self._fan_out_max} children of one fork"
            return self.returned(run, Failed(Failure("limits.fan_out", message, self._name)))
        run.children += 1
        if run.node.request.hold or self.shape.stage.digests:
            if run.held_back is None:
                run.held_back = []
            run.held_back.append(value)
            return []
        return [self._emit_child(run, run.children - 1, value)]

    def returned(self, run: Run, result: Result) -> list[Effect]:
        """The function is done; its value leaves when everything that it joins has come."""
        out: list[Effect] = []
        if run.is_void:
            return out
        if isinstance(result, Failed):
            node = run.node
            node.failures += 1
            if node.failures <= self.shape.stage.retries and result.failure.code not in FINAL_CODES:
                failures = node.failures
                self._void(node, out)
                node.failures = failures
                self._advance(node, out)  # not always a call: what was refused may have been an error passed on
                return out
            run.is_settled = False  # it may have returned before: what it emitted was refused
        run.result = result
        self._settle(run, out)
        return out

    def _settle(self, run: Run, out: list[Effect]) -> None:
        result, group = run.result, run.node.group
        if result is None or run.is_settled:
            return
        if isinstance(result, Failed):
            if group.may_fail:
                self._stand_in(run.node, Instead(Kind.ERROR, result.failure.encode()), out)
            return
        if not group.is_complete:
            return
        run.result = None  # it leaves now, and may be large: the run stays until the request closes
        match result:
            case Value(value) if self.shape.stage.kind is StageKind.MODEL:
                run.is_settled, run.unacked = True, run.unacked + 1
                out.append(Route(run, self._envelope(run, Kind.ITEM, run.node.path), value))
            case Value(value):
                run.is_settled = True
                out.append(self._emit(run, Kind.ITEM, run.node.path, value))
            case Ended():
                for index, value in enumerate(run.held_back or ()):
                    out.append(self._emit_child(run, index, value))
                run.held_back = None
                run.is_settled = True
                out.append(self._emit(run, Kind.END, run.node.path, None, total=run.children))
            case Dropped():
                self._emit_instead(run, Kind.TOMBSTONE, None, out)

    def _emit_instead(self, run: Run, kind: Kind, value: bytes | None, out: list[Effect]) -> None:
        run.is_settled = True
        out.append(self._emit(run, kind, run.node.path, value))

    def _emit_child(self, run: Run, index: int, value: bytes) -> Emit:
        return self._emit(run, Kind.ITEM, (*run.node.path, index), value)

    def _emit(self, run: Run, kind: Kind, path: Path, value: bytes | None, total: int = 0) -> Emit:
        run.unacked += 1
        return Emit(run, self._envelope(run, kind, path, total), value)

    def _envelope(self, run: Run, kind: Kind, path: Path, total: int = 0) -> Envelope:
        node = run.node
        request = node.request
        return Envelope(  # by position: by name it takes twice as long, and this is done for every record
            request.id,
            kind,
            request.serial,
            self._plan_digest,
            self._name,
            path,
            node.group.lineage(run.id),
            request.deadline,
            request.traceparent,
            request.hold,
            total,
            0,
            None,
            None,
            len(node.group.revisions),
            node.group.digests(),
        )

    def acked(self, run: Run) -> None:
        """The broker has one more record of this run; it is finished, and marked, when it has all (PROTOCOL §4.1)."""
        run.unacked -= 1
        if run.is_settled and not run.unacked and not run.is_void and run.node.request.serial in self.requests:
            run.node.is_finished = True
            self._unmarked[run.node] = None

    # -- closing and committing ------------------------------------------------------------------------------------

    def closed(self, serial: Serial) -> list[Effect]:
        """The request has its answer: nothing of it is needed any more."""
        out: list[Effect] = []
        for offsets in self.offsets.values():
            offsets.close(serial)
        request = self.requests.pop(serial, None)
        if request is not None:
            for node in request.nodes.values():
                self._void(node, out)
            # Requests and nodes name each other: taken apart, they are freed at once and not by the garbage collector.
            request.nodes.clear()
            request.under = None
        return out

    def committable(self) -> tuple[dict[int, int], SlotMetadata]:
        """Source index -> offset, and the metadata for the home partition (source 0).

        A mark takes a digest over all that its node holds, so only those are made that a commit has room for: under
        load most requests are closed before."""
        fresh = list(islice(reversed(self._unmarked), MARKS_MAX))
        for node in reversed(fresh):
            del self._unmarked[node]
            node.mark = node.group.selection()
            self.marks.add(node.mark)
        return (
            {source: offsets.committable for source, offsets in self.offsets.items()},
            SlotMetadata(self.epoch, marks=self.marks.newest()),
        )


FINAL_CODES: Final = frozenset({"limits.record", "limits.fan_out", "model.prompt", "model.unknown", "record.schema"})
"""Failures that a further run would only repeat."""
