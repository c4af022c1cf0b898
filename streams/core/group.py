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
from streams.core.record import Kind
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
        self.plain: Final = tuple(k for k, i in enumerate(stage.inputs) if i.mode is InputMode.ITEM)
        self.streams: Final = tuple(k for k, i in enumerate(stage.inputs) if i.mode is InputMode.STREAM)
        # Markers above the node come in over every deep enough input; one of them passes them on.
        deep = [i.source for i in stage.inputs if i.depth >= self.depth and i.source in self.sources]
        self.forwarder: Final = self.sources.index(deep[0]) if deep else 0
        self.broadcast_depths: Final = tuple(
            sorted({i.depth for i in stage.inputs if i.mode is InputMode.ITEM and i.depth < self.depth})
        )
        self.may_meet_again: Final = any(s.digests for s in plan.stages)
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
    def __init__(self, shape: Shape, path: Path) -> None:
        self.shape: Final = shape
        self.path: Final = path
        self.records: Final[list[Held]] = []
        self._view = View()
        self._clear()

    def _clear(self) -> None:
        shape = self.shape
        self._plain: dict[int, Held] = {}
        self._branches: dict[int, Branches] = {}
        self._texts: dict[int, _TextInput] = {}
        self._replaced: Instead | None = None
        self._error: Held | None = None
        self._seen: set[tuple[object, ...]] = set()
        self._current: list[Held] = []
        self._begun: set[int] = set()
        for k in shape.streams:
            plan = shape.stage.inputs[k]
            if plan.is_text:
                self._texts[k] = _TextInput()
            else:
                self._branches[k] = Branches(self.path, plan.depth - shape.depth)

    # -- records ---------------------------------------------------------------------------------------------------

    def add(self, held: Held) -> Delta:
        """Take a record of this group. Raises RecordError when a text's writer erred; the record is then ignored."""
        verdict = self._view.admit(held)
        if verdict is Verdict.CURRENT:
            delta = self._index(held)
            if delta is not Delta.NONE:
                self.records.append(held)
            return delta
        self.records.append(held)
        if verdict is Verdict.OUTRANKED:
            return Delta.NONE
        before = self._current
        current = self._view.select(self.records)
        self._clear()
        for record in current:
            with contextlib.suppress(RecordError):  # a faulty record of a run that was outranked until now
                self._index(record)
        kept = set(map(id, self._current))
        return Delta.SUPERSEDED if any(id(r) not in kept for r in before) else Delta.EXTENDED

    def _index(self, held: Held) -> Delta:
        envelope = held.envelope
        is_writers = envelope.w is not None
        if not is_writers:  # run ids name one execution, so an equal record is a repetition
            identity = (held.source, envelope.kind, envelope.stage, envelope.path, envelope.lin)
            if identity in self._seen:
                return Delta.NONE
            self._seen.add(identity)
        delta = Delta.EXTENDED
        for k in self.shape.inputs_of[held.source]:
            if k in self._texts:
                if is_writers:
                    delta = self._index_text(k, held)
                else:
                    self._replace(held)
            elif k in self._branches:
                self._index_branch(k, held)
            elif envelope.kind in (Kind.ITEM, Kind.TOMBSTONE, Kind.ERROR):
                self._index_plain(k, held)
            self._begun.add(k)
        self._current.append(held)
        return delta

    def _index_text(self, k: int, held: Held) -> Delta:
        text = self._texts[k]
        change = text.add(held)
        return Delta.SUPERSEDED if change is Change.RESTARTED else Delta.EXTENDED

    def _index_branch(self, k: int, held: Held) -> None:
        envelope = held.envelope
        if len(envelope.path) == self.shape.depth and envelope.kind is not Kind.END:
            self._replace(held)  # a tombstone or an error instead of the whole fork
            return
        self._branches[k].add(held)
        if envelope.kind is Kind.ERROR and self.shape.stage.on_error is OnError.FAIL and self._error is None:
            self._error = held

    def _index_plain(self, k: int, held: Held) -> None:
        self._plain[k] = held
        kind = held.envelope.kind
        if kind is Kind.TOMBSTONE or (kind is Kind.ERROR and self.shape.stage.on_error is not OnError.PASS):
            self._replace(held)

    def _replace(self, held: Held) -> None:
        # An error says more than a tombstone: it wins, whichever came first.
        if self._replaced is None or (self._replaced.kind is Kind.TOMBSTONE and held.envelope.kind is Kind.ERROR):
            self._replaced = Instead(held.envelope.kind, held.value)

    # -- what a run needs to know ----------------------------------------------------------------------------------

    @property
    def instead(self) -> Instead | None:
        """What the node ends in without being run, if anything."""
        if self._replaced is not None:
            return self._replaced
        if self._error is not None:
            return Instead(Kind.ERROR, self._error.value)
        policy = self.shape.stage.on_error
        if policy is not OnError.PASS:
            for text in self._texts.values():
                if text.error is not None:
                    drop = policy is OnError.DROP
                    return Instead(Kind.TOMBSTONE, None) if drop else Instead(Kind.ERROR, text.error.value)
        return None

    @property
    def can_start(self) -> bool:
        """Every plain input is there, every stream has begun, and the runs of all ancestors are known."""
        if len(self._plain) < len(self.shape.plain) or any(k not in self._begun for k in self.shape.streams):
            return False
        runs = self._view.runs
        path = self.path
        return all((i, path[:depth]) in runs for i, depth in self.shape.named) or self.is_complete

    @property
    def is_complete(self) -> bool:
        """All plain inputs and everything that the streams' ends count, of runs that agree on what they share."""
        return (
            len(self._plain) == len(self.shape.plain)
            and all(b.is_complete for b in self._branches.values())
            and all(t.text.is_over for t in self._texts.values())
            and self._digests_agree()
        )

    def lineage(self, run: RunId) -> Lineage:
        """What outputs of `run` carry: the current runs of all ancestors at the node's depth or above, and its own."""
        runs = self._view.runs
        path = self.path
        return (*[runs.get((i, path[:depth])) for i, depth in self.shape.named], run)

    def plain(self, k: int) -> Held:
        return self._plain[k]

    def branches(self, k: int) -> Branches:
        return self._branches[k]

    def pieces(self, k: int) -> Iterator[Piece | Next]:
        return self._texts[k].pieces()

    def text_error(self, k: int) -> Held | None:
        return self._texts[k].error

    def selection(self) -> bytes:
        """8 bytes that name the node and exactly the current records (PROTOCOL §6.2)."""
        hashed = hashlib.blake2b(repr((self.shape.stage.name, self.path)).encode(), digest_size=8)
        for source, offset in sorted((r.source, r.offset) for r in self._current):
            hashed.update(b"%d:%d;" % (source, offset))
        return hashed.digest()

    # -- reconvergence ---------------------------------------------------------------------------------------------

    def digests(self) -> tuple[tuple[str, int], ...]:
        """For each stage that a later one meets again: the sum over its nodes below this one (PROTOCOL §2)."""
        return tuple((name, self._digest(name)) for name in self.shape.stage.digests)

    def _digest(self, name: str) -> int:
        carried = self._carried().get(name)
        return next(iter(carried.values())) if carried else self._digest_of_view(name)

    def _carried(self) -> dict[str, dict[int, int]]:
        """Stage met again -> source -> sum of what its records carry; sums of sums are sums over all nodes."""
        sums: dict[str, dict[int, int]] = {}
        for held in self._current:
            for name, value in held.envelope.digests:
                of_source = sums.setdefault(name, {})
                of_source[held.source] = (of_source.get(held.source, 0) + value) % 2**64
        return sums

    def _digest_of_view(self, name: str) -> int:
        index, depth = self.shape.layout.index[name], self.shape.depth
        return (
            sum(
                _node_hash(node[1], run)
                for node, run in self._view.runs.items()
                if node[0] == index and node[1][:depth] == self.path
            )
            % 2**64
        )

    def _digests_agree(self) -> bool:
        if not self.shape.may_meet_again:
            return True
        for name, of_source in self._carried().items():
            values = set(of_source.values())
            if any(name in self.shape.plan[s].lineage for s in self._named_sources()):
                values.add(self._digest_of_view(name))
            if len(values) > 1:
                return False
        return True

    def _named_sources(self) -> Iterator[str]:
        known = self.shape.layout.index
        return (s for s in self.shape.sources if s in known)


def _node_hash(path: Path, run: RunId) -> int:
    return int.from_bytes(hashlib.blake2b(repr((path, run[0], run[1])).encode(), digest_size=8).digest(), "big")
