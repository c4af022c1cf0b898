"""All records that one node needs: which are current, whether it can start, what it is given, when it is complete."""

from __future__ import annotations

import contextlib
import enum
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streams.core.branches import Branches, Next
from streams.core.lineage import Layout, Lineage, Path, RunId
from streams.core.plan import InputMode, OnError, Plan, StagePlan
from streams.core.reconvergence import Digest, Meetings
from streams.core.record import Kind
from streams.core.revision import REVISIONS_MAX, Revision
from streams.core.text import Change, Piece, Text, decode_piece
from streams.core.view import Held, Verdict, View
from streams.errors import RecordError


class Shape:
    """What is fixed for all groups of a stage."""

    def __init__(self, plan: Plan, stage: StagePlan, layout: Layout) -> None:
        self.plan: Final = plan
        self.stage: Final = stage
        self.layout: Final = layout
        self.depth: Final = stage.depth
        self.sources: Final = stage.sources
        self.inputs_of: Final = tuple(
            tuple(k for k, i in enumerate(stage.inputs) if i.source == source) for source in self.sources
        )
        self.input_depths: Final = tuple(frozenset(stage.inputs[k].depth for k in of) for of in self.inputs_of)
        # What `pass` hands on is an error, and only a parameter that is typed for it may be given one.
        self.on_error: Final = tuple(
            OnError.FAIL if stage.on_error is OnError.PASS and not i.takes_failed else stage.on_error
            for i in stage.inputs
        )
        self.plain: Final = tuple(k for k, i in enumerate(stage.inputs) if i.mode is InputMode.ITEM)
        self.streams: Final = tuple(k for k, i in enumerate(stage.inputs) if i.mode is InputMode.STREAM)
        self.all_inputs: Final = (1 << len(stage.inputs)) - 1
        # Markers above the node come in over every deep enough input; one of them passes them on.
        deep = [i.source for i in stage.inputs if i.depth >= self.depth and i.source in self.sources]
        self.forwarder: Final = self.sources.index(deep[0]) if deep else 0
        self.broadcast_depths: Final = tuple(
            sorted({i.depth for i in stage.inputs if i.mode is InputMode.ITEM and i.depth < self.depth})
        )
        self.meetings: Final = Meetings(plan, stage, layout)
        # Then a node ends only when all that it is given has ended: digests and lineages are whole or useless.
        self.ends_late: Final = any(s.digests for s in plan.stages)
        self.named: Final = tuple((layout.index[a], plan[a].depth) for a in stage.lineage if a != stage.name)


class Delta(enum.Enum):
    NONE = enum.auto()
    EXTENDED = enum.auto()
    SUPERSEDED = enum.auto()  # something that a run may have used is void


@dataclass(frozen=True, slots=True)
class Instead:
    """What stands in place of an input, and so of the node's output: a tombstone, or the first error."""

    kind: Kind
    value: bytes | None


class _TextInput:
    """The text of the current prompt run."""

    __slots__ = ("error", "text")

    def __init__(self) -> None:
        self.text = Text()
        self.error: Held | None = None

    def add(self, held: Held) -> Change:
        envelope = held.envelope
        piece = decode_piece(envelope.position, held.value) if envelope.kind is Kind.CHUNK else None
        change = self.text.on(envelope, piece)
        if change is not Change.NONE:
            self.error = held if self.text.failed else None
        return change

    def pieces(self) -> Iterator[Piece | Next]:
        index = 0
        while True:
            if index < len(self.text.pieces):
                index += 1
                yield self.text.pieces[index - 1]
            else:
                yield Next.OVER if self.text.is_over else Next.WAIT


class Group:
    """There is one for every node of every open request: what most groups never need is made when it is."""

    __slots__ = (
        "_begun",
        "_branches",
        "_current",
        "_error",
        "_heeded",
        "_plain",
        "_replaced",
        "_replaced_inputs",
        "_seen",
        "_texts",
        "_view",
        "_wishes",
        "path",
        "records",
        "region",
        "revisions",
        "shape",
    )

    def __init__(self, shape: Shape, path: Path, region: Region | None = None) -> None:
        """`region`: what it is compared with, where the stage's inputs must be compared at all."""
        self.shape: Final = shape
        self.path: Final = path
        self.region: Final = region
        if region is not None:
            region.groups.append(self)
        self.records: Final[list[Held]] = []
        """All that agree with some view, in log order."""
        self.revisions: tuple[Revision, ...] = ()
        """What a run must heed: wishes for the runs of the ancestors that are current, in log order."""
        self._wishes: list[tuple[Held, Revision]] | None = None
        self._heeded: tuple[int, ...] = ()
        """Offsets of `revisions`."""
        self._view = View()
        self._clear()
        self._current: list[Held] = self.records  # one list, until a record is outranked

    def _clear(self) -> None:
        shape = self.shape
        self._plain: dict[int, Held] = {}
        self._branches: dict[int, Branches] | None = None
        self._texts: dict[int, _TextInput] | None = None
        self._replaced: Instead | None = None
        self._replaced_inputs = 0  # bit k: input k
        self._error: Held | None = None
        self._seen: set[tuple[object, ...]] | None = None
        self._current = []
        self._begun = 0  # bit k: input k
        for k in shape.streams:
            plan = shape.stage.inputs[k]
            if plan.is_text:
                self._texts = self._texts or {}
                self._texts[k] = _TextInput()
            else:
                self._branches = self._branches or {}
                self._branches[k] = Branches(self.path, plan.depth - shape.depth)

    # -- records ---------------------------------------------------------------------------------------------------

    def add(self, held: Held) -> Delta:
        """Take a record of this group. Raises RecordError when a text's writer erred; the record is then ignored."""
        delta = self._take(held)
        return Delta.SUPERSEDED if self._wishes is not None and self._choose(self._wishes) else delta

    def revise(self, held: Held, revision: Revision) -> Delta:
        """Take a wish for another run. `held.entries` names the runs of the node's ancestors, not its own: a later
        owner cannot know on what exactly a run of an earlier one was made."""
        if self._wishes is None:
            self._wishes = []
        if any(known.id == revision.id for _, known in self._wishes):
            return Delta.NONE
        self._wishes.append((held, revision))
        return Delta.SUPERSEDED if self._choose(self._wishes) else Delta.NONE

    def _choose(self, wishes: list[tuple[Held, Revision]]) -> bool:
        """Whether what a run must heed is other than before."""
        runs = self._view.runs
        fitting = [w for w in wishes if all(runs.get(node) == run for node, run in w[0].entries)]
        heeded = fitting[:REVISIONS_MAX]
        before, self._heeded = self._heeded, tuple(held.offset for held, _ in heeded)
        self.revisions = tuple(revision for _, revision in heeded)
        return self._heeded != before

    def _take(self, held: Held) -> Delta:
        if self.region is not None:
            self.region.changed()
        verdict = self._view.admit(held)
        if verdict is Verdict.CURRENT:
            delta = self._index(held)
            if delta is not Delta.NONE and self._current is not self.records:
                self.records.append(held)
            return delta
        before = self._current
        if before is self.records:
            before = self._current = list(before)
        self.records.append(held)
        if verdict is Verdict.OUTRANKED:
            return Delta.NONE
        current = self._view.select(self.records)
        kept, known = set(map(id, current)), set(map(id, before))
        delta = Delta.EXTENDED
        if known <= kept:  # what a run is reading stays in place: it goes on where it is
            current = [record for record in current if id(record) not in known]
        else:
            delta = Delta.SUPERSEDED
            self._clear()
        for record in current:
            with contextlib.suppress(RecordError):  # a faulty record of a run that was outranked until now
                if self._index(record) is Delta.SUPERSEDED:
                    delta = Delta.SUPERSEDED
        return delta

    def _index(self, held: Held) -> Delta:
        envelope = held.envelope
        kind, is_writers = envelope.kind, envelope.w is not None
        if not is_writers and self._current:
            # Run ids name one execution, so an equal record is a repetition. Most groups have one record.
            if self._seen is None:
                self._seen = {_identity(earlier) for earlier in self._current if earlier.envelope.w is None}
            identity = _identity(held)
            if identity in self._seen:
                return Delta.NONE
            self._seen.add(identity)
        delta = Delta.EXTENDED
        for k in self.shape.inputs_of[held.source]:
            if self._texts is not None and k in self._texts:
                if is_writers:
                    delta = self._index_text(self._texts[k], held)
                else:
                    self._replace(k, held)
            elif self._branches is not None and k in self._branches:
                self._index_branch(k, self._branches[k], held)
            elif kind is Kind.ITEM:
                self._plain[k] = held
            elif kind is Kind.TOMBSTONE or kind is Kind.ERROR:
                self._plain[k] = held
                if kind is Kind.TOMBSTONE or self.shape.on_error[k] is not OnError.PASS:
                    self._replace(k, held)
            self._begun |= 1 << k
        self._current.append(held)
        return delta

    def _index_text(self, text: _TextInput, held: Held) -> Delta:
        return Delta.SUPERSEDED if text.add(held) is Change.RESTARTED else Delta.EXTENDED

    def _index_branch(self, k: int, branches: Branches, held: Held) -> None:
        envelope = held.envelope
        if len(envelope.path) == self.shape.depth and envelope.kind is not Kind.END:
            self._replace(k, held)  # a tombstone or an error instead of the whole fork
            return
        branches.add(held)
        if envelope.kind is Kind.ERROR and self.shape.on_error[k] is OnError.FAIL and self._error is None:
            self._error = held

    def _replace(self, k: int, held: Held) -> None:
        self._replaced_inputs |= 1 << k
        # An error says more than a tombstone: it wins, whichever came first.
        if self._replaced is None or (self._replaced.kind is Kind.TOMBSTONE and held.envelope.kind is Kind.ERROR):
            self._replaced = Instead(held.envelope.kind, held.value)

    # -- what a run needs to know ----------------------------------------------------------------------------------

    @property
    def instead(self) -> Instead | None:
        """What the node ends in without being run, if anything."""
        if self._replaced is None and self._error is None and self._texts is None:
            return None
        if not self.may_fail:
            return None
        if self._replaced is not None:
            return self._replaced
        if self._error is not None:
            return Instead(Kind.ERROR, self._error.value)
        for k, text in (self._texts or {}).items():
            policy = self.shape.on_error[k]
            if text.error is not None and policy is not OnError.PASS:
                drop = policy is OnError.DROP
                return Instead(Kind.TOMBSTONE, None) if drop else Instead(Kind.ERROR, text.error.value)
        return None

    @property
    def can_start(self) -> bool:
        """Every plain input is there, every stream has begun, and the runs of all ancestors are known."""
        shape = self.shape
        if len(self._plain) < len(shape.plain) or (shape.streams and self._begun != shape.all_inputs):
            return False
        return not shape.named or self._knows_ancestors or self.is_complete

    @property
    def _knows_ancestors(self) -> bool:
        runs, path = self._view.runs, self.path
        return all((i, path[:depth]) in runs for i, depth in self.shape.named)

    @property
    def has_all(self) -> bool:
        """All plain inputs, and everything that the streams' ends count, have come."""
        if len(self._plain) != len(self.shape.plain):
            return False
        if self._branches is not None:
            for k, branches in self._branches.items():
                if not (branches.is_complete or self._replaced_inputs >> k & 1):
                    return False
        if self._texts is not None:
            for k, text in self._texts.items():
                if not (text.text.is_over or self._replaced_inputs >> k & 1):
                    return False
        return True

    @property
    def is_complete(self) -> bool:
        """It has all, of runs that agree on what they share."""
        return self.has_all and (self.region is None or self.region.agrees())

    @property
    def may_fail(self) -> bool:
        """Whether a tombstone or an error may leave in place of the output by now."""
        return not self.shape.ends_late or self.has_all

    def lineage(self, run: RunId) -> Lineage:
        """What outputs of `run` carry: the current runs of all ancestors at the node's depth or above, and its own."""
        if not self.shape.named:
            return (run,)
        runs, path = self._view.runs, self.path
        return (*[runs.get((i, path[:depth])) for i, depth in self.shape.named], run)

    @property
    def current(self) -> list[Held]:
        return self._current

    def plain(self, k: int) -> Held:
        return self._plain[k]

    def branches(self, k: int) -> Branches:
        assert self._branches is not None  # noqa: S101 — asked of Stream inputs only
        return self._branches[k]

    def pieces(self, k: int) -> Iterator[Piece | Next]:
        assert self._texts is not None  # noqa: S101 — asked of texts only
        return self._texts[k].pieces()

    def text_error(self, k: int) -> Held | None:
        assert self._texts is not None  # noqa: S101 — asked of texts only
        return self._texts[k].error

    @property
    def replacement(self) -> bytes | None:
        """The output that somebody wants in place of the function's; the last wish counts."""
        return next((r.value for r in reversed(self.revisions) if r.value is not None), None)

    def selection(self) -> bytes:
        """8 bytes that name the node, exactly the current records, and the wishes that were heeded (PROTOCOL §6.2)."""
        hashed = hashlib.blake2b(repr((self.shape.stage.name, self.path)).encode(), digest_size=8)
        for source, offset in sorted((r.source, r.offset) for r in self._current):
            hashed.update(b"%d:%d;" % (source, offset))
        for offset in self._heeded:
            hashed.update(b"revise:%d;" % offset)
        return hashed.digest()

    def digests(self) -> tuple[Digest, ...]:
        """What outputs carry for stages that are met again; whole once every input has ended."""
        meetings = self.shape.meetings
        return meetings.digests(self._current) if meetings.carries else ()


def _identity(held: Held) -> tuple[object, ...]:
    envelope = held.envelope
    return held.source, envelope.kind, envelope.stage, envelope.path, envelope.lin


class Region:
    """Groups whose inputs are compared as one, where a summary comes back to what it was made from."""

    def __init__(self, meetings: Meetings) -> None:
        self._meetings: Final = meetings
        self._agrees: bool | None = None
        self.groups: Final[list[Group]] = []

    def changed(self) -> None:
        self._agrees = None

    def agrees(self) -> bool:
        """O(records of all groups) after a change, else O(1)."""
        if self._agrees is None:
            self._agrees = self._meetings.agree(group.current for group in self.groups)
        return self._agrees
