"""The core as it would be with a flaw of PROTOCOL-FLAWS.md: what tests.simulation.flaws puts back by patching."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from streams.core.closer import Close, Closer
from streams.core.effects import Effect, Node, Run
from streams.core.lineage import Entry, Layout, Lineage, Path, RunId, Serial
from streams.core.offsets import SlotMetadata
from streams.core.plan import StageKind
from streams.core.reconvergence import Meetings
from streams.core.record import Envelope, Kind
from streams.core.slot import Slot
from streams.core.view import Held, Verdict, View
from tests.simulation.stages import StageHost

# -- 1: highest run kept for each ancestor by itself ----------------------------------------------------------------


def _admit_each_by_itself(self: View, held: Held) -> Verdict:
    verdict = Verdict.CURRENT
    for node, run in held.entries:
        known = self.runs.get(node)
        if known is None or run > known:
            self.runs[node] = run
            if known is not None:
                verdict = Verdict.OUTRANKS
        elif run < known and verdict is Verdict.CURRENT:
            verdict = Verdict.OUTRANKED
    return verdict


def _select_each_by_itself(self: View, records: list[Held]) -> list[Held]:
    self.runs = {}
    for held in records:
        for node, run in held.entries:
            self.runs[node] = max(run, self.runs.get(node, run))
    return [held for held in records if all(self.runs[node] == run for node, run in held.entries)]


@contextmanager
def each_by_itself() -> Iterator[None]:
    with patch.object(View, "admit", _admit_each_by_itself), patch.object(View, "select", _select_each_by_itself):
        yield


# -- 2: writers of a text compared across lanes ---------------------------------------------------------------------

_entries = Layout.entries


def _entries_without_prompt_run(self: Layout, stage: str, path: Path, lin: Lineage) -> list[Entry]:
    found = _entries(self, stage, path, lin)
    return [(node, run) for node, run in found if node[0] not in self.models or node[0] != self.index[stage]]  # type: ignore[attr-defined]


_layout_init = Layout.__init__


def _layout_with_models(self: Layout, plan: Any) -> None:
    _layout_init(self, plan)
    self.models = {self.index[s.name] for s in plan.stages if s.kind is StageKind.MODEL}  # type: ignore[attr-defined]


@contextmanager
def across_lanes() -> Iterator[None]:
    with (
        patch.object(Layout, "__init__", _layout_with_models),
        patch.object(Layout, "entries", _entries_without_prompt_run),
    ):
        yield


# -- 3: n counts the retries of one node ------------------------------------------------------------------------------


def run_by_retries(self: Slot, node: Node) -> Run:
    node.run = Run(RunId(self.epoch, node.failures + 1), node)
    return node.run


# -- 7, 8: the lowest unfinished group is committed -------------------------------------------------------------------


def commit_unfinished(self: Slot) -> tuple[dict[int, int], SlotMetadata]:
    offsets = {source: o.position for source, o in self.offsets.items()}
    for request in self.requests.values():
        held = [h for r in (request.broadcast or {}).values() for h in r] if not request.nodes else []
        for node in request.nodes.values():
            if not node.is_finished:
                held += node.group.records
        for record in held:
            offsets[record.source] = min(offsets[record.source], record.offset)
    return offsets, SlotMetadata(self.epoch, marks=self.marks.newest())


def commit_unfinished_without_marks(self: Slot) -> tuple[dict[int, int], SlotMetadata]:
    offsets, _ = commit_unfinished(self)
    return offsets, SlotMetadata(self.epoch)


# -- 10: marks name records -------------------------------------------------------------------------------------------


@contextmanager
def marks_by_record() -> Iterator[None]:
    def acked(self: Slot, run: Run) -> None:
        run.unacked -= 1
        if run.is_settled and not run.unacked and not run.is_void and run.node.request.serial in self.requests:
            run.node.is_finished, run.node.mark = True, b"finished"
            for held in run.node.group.current:
                self.marks.add(_record_mark(run.node, held))

    def caught_up(self: Slot) -> list[Effect]:
        self.is_replaying = False
        out: list[Effect] = []
        for request in list(self.requests.values()):
            for node in list(request.nodes.values()):
                current = node.group.current
                if current and all(_record_mark(node, held) in self.marks for held in current):
                    node.is_finished, node.mark = True, b"finished"
                else:
                    self._advance(node, out)
        if not self.requests:
            self.marks.keep_only(set())
        return out

    def is_marked(self: StageHost, node: Node) -> bool:
        current = node.group.current
        return bool(current) and all(_record_mark(node, held) in self.slot.marks for held in current)

    with (
        patch.multiple(Slot, acked=acked, caught_up=caught_up, closed=_close_and_forget),
        patch.object(StageHost, "is_marked", is_marked),
    ):
        yield


_closed = Slot.closed


def _close_and_forget(self: Slot, serial: Serial) -> list[Effect]:
    out = _closed(self, serial)
    if not self.requests:
        self.marks.keep_only(set())
    return out


def _record_mark(node: Node, held: Held) -> bytes:
    text = f"{node.path}:{held.source}:{held.offset}:{node.request.serial.offset}"
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


# -- 15: ends and children of different runs --------------------------------------------------------------------------

_admit, _select = View.admit, View.select


def _admit_any_end(self: View, held: Held) -> Verdict:
    return Verdict.CURRENT if held.envelope.kind is Kind.END and held.envelope.w is None else _admit(self, held)


def _select_any_end(self: View, records: list[Held]) -> list[Held]:
    chosen = set(map(id, _select(self, [h for h in records if h.envelope.kind is not Kind.END or h.envelope.w])))
    ends = {id(h) for h in records if h.envelope.kind is Kind.END and h.envelope.w is None}
    return [h for h in records if id(h) in chosen or id(h) in ends]


@contextmanager
def any_end() -> Iterator[None]:
    with patch.object(View, "admit", _admit_any_end), patch.object(View, "select", _select_any_end):
        yield


# -- 16: reconvergence ------------------------------------------------------------------------------------------------


def always_agree(self: Meetings, groups: object) -> bool:
    return True


# -- 17: tombstones ---------------------------------------------------------------------------------------------------

_emit_instead = Slot._emit_instead


def no_tombstone(self: Slot, run: Run, kind: Kind, value: bytes | None, out: list[Effect]) -> None:
    if kind is Kind.TOMBSTONE and self.shape.stage.name != "closer":
        run.is_settled = True
        return
    _emit_instead(self, run, kind, value, out)


# -- 26, 27: ids and serials ------------------------------------------------------------------------------------------


_request = Closer._request


def forgotten_duplicates(self: Closer, offset: int, envelope: Envelope, value: bytes | None) -> Iterator[Close]:
    yield from (c for c in _request(self, offset, envelope, value) if c.reason != "duplicate")


def answered_again(self: Closer, offset: int, envelope: Envelope, value: bytes | None) -> Iterator[Close]:
    renamed = envelope._replace(id=f"{envelope.id}@{offset}")
    for close in _request(self, offset, renamed, value):
        answer = close.envelope._replace(id=envelope.id) if close.envelope is not None else None
        yield Close(close.offset, close.reason, envelope.id, answer, close.value)
