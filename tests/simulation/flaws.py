"""The flaws of PROTOCOL-FLAWS.md, put back one at a time: into the core by patching it, or by breaking a rule.

They are tests of the tests: a checker that finds nothing proves nothing unless it finds these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import product
from random import Random
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
from tests.simulation.checker import Violation, check
from tests.simulation.directed import Script
from tests.simulation.history import WHENS, Schedule
from tests.simulation.pipelines import Op
from tests.simulation.rules import Rules
from tests.simulation.schedules import SHAPES, aimed, draw, mishap
from tests.simulation.scripts import marked_then_half_replayed, older_ancestor_replayed, two_selections_marked
from tests.simulation.simulation import simulate
from tests.simulation.stages import StageHost


@dataclass(frozen=True)
class Flaw:
    number: str
    """Of PROTOCOL-FLAWS.md."""
    text: str
    rules: Rules = field(default_factory=Rules)
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext
    schedule: Callable[[Random], Schedule] = draw
    """Where to look: anywhere, or where several faults must come together."""
    script: Script | None = None
    """Its history as PROTOCOL-FLAWS.md tells it, where that has been written down."""
    ops: tuple[Op, ...] = ()
    """The pipeline of the script."""

    def __str__(self) -> str:
        return f"{self.number}-{self.text.replace(' ', '-')}"


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
def _each_by_itself() -> Iterator[None]:
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
def _across_lanes() -> Iterator[None]:
    with (
        patch.object(Layout, "__init__", _layout_with_models),
        patch.object(Layout, "entries", _entries_without_prompt_run),
    ):
        yield


# -- 3: n counts the retries of one node ------------------------------------------------------------------------------


def _run_by_retries(self: Slot, node: Node) -> Run:
    node.run = Run(RunId(self.epoch, node.failures + 1), node)
    return node.run


# -- 7, 8: the lowest unfinished group is committed -------------------------------------------------------------------


def _commit_unfinished(self: Slot) -> tuple[dict[int, int], SlotMetadata]:
    offsets = {source: o.position for source, o in self.offsets.items()}
    for request in self.requests.values():
        held = [h for r in (request.broadcast or {}).values() for h in r] if not request.nodes else []
        for node in request.nodes.values():
            if not node.is_finished:
                held += node.group.records
        for record in held:
            offsets[record.source] = min(offsets[record.source], record.offset)
    return offsets, SlotMetadata(self.epoch, marks=self.marks.newest())


def _commit_unfinished_without_marks(self: Slot) -> tuple[dict[int, int], SlotMetadata]:
    offsets, _ = _commit_unfinished(self)
    return offsets, SlotMetadata(self.epoch)


# -- 10: marks name records -------------------------------------------------------------------------------------------


@contextmanager
def _marks_by_record() -> Iterator[None]:
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
def _any_end() -> Iterator[None]:
    with patch.object(View, "admit", _admit_any_end), patch.object(View, "select", _select_any_end):
        yield


# -- 16: reconvergence ------------------------------------------------------------------------------------------------


def _always_agree(self: Meetings, groups: object) -> bool:
    return True


# -- 17: tombstones ---------------------------------------------------------------------------------------------------

_emit_instead = Slot._emit_instead


def _no_tombstone(self: Slot, run: Run, kind: Kind, value: bytes | None, out: list[Effect]) -> None:
    if kind is Kind.TOMBSTONE and self.shape.stage.name != "closer":
        run.is_settled = True
        return
    _emit_instead(self, run, kind, value, out)


# -- 26, 27: ids and serials ------------------------------------------------------------------------------------------


def _no_duplicates(self: Closer, offset: int, envelope: Envelope, value: bytes | None) -> Iterator[Close]:
    known = self._by_id.pop(envelope.id, None)
    found = list(_request(self, offset, envelope, value)) if known is None else []
    yield from (c for c in found if c.reason != "duplicate")


_request = Closer._request


def _forgotten_duplicates(self: Closer, offset: int, envelope: Envelope, value: bytes | None) -> Iterator[Close]:
    yield from (c for c in _request(self, offset, envelope, value) if c.reason != "duplicate")


def _answered_again(self: Closer, offset: int, envelope: Envelope, value: bytes | None) -> Iterator[Close]:
    renamed = envelope._replace(id=f"{envelope.id}@{offset}")
    for close in _request(self, offset, renamed, value):
        answer = close.envelope._replace(id=envelope.id) if close.envelope is not None else None
        yield Close(close.offset, close.reason, envelope.id, answer, close.value)


# The last stage sees the others' inputs as well: it is the one that waits for what never comes. An answer from a
# complete older run is valid, so it must not have had one.
DIAMOND = (Op(0), Op(0, 1), Op(0, 0, 1), Op(0, 0, 2))
CHAIN = (Op(0), Op(0), Op(0, 0, 1))
TEXT_FORK = (Op(3), Op(1), Op(2))
TWO_JOINS = SHAPES[0]
DEATHS = ("crash", "crash twice", "crash and hold", "forget marks and crash")
DELAYS = ("pause", "cut off", "hold", "forget marks and crash")


def _at(
    ops: tuple[Op, ...], kinds: tuple[str, ...], targets: tuple[int, ...], sleeper: int = -1, lanes: int = 1
) -> Callable[[Random], Schedule]:
    hits = tuple(product(kinds, targets))
    return lambda rng: aimed(rng, ops, hits, sleeper, lanes=lanes)


def _at_replays(
    ops: tuple[Op, ...], hits: tuple[tuple[str, int], ...], sleeper: int, whens: Sequence[int] = range(WHENS)
) -> Callable[[Random], Schedule]:
    """While the request stays open and replays are slow."""
    return lambda rng: aimed(rng, ops, hits, sleeper, lates=(800,), slow_replays=(20, 60), whens=whens)


def _patch(target: type, name: str, new: object) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(target, name, new)


FLAWS = (
    Flaw(
        "2",
        "writers compared across lanes",
        patched=_across_lanes,
        schedule=_at(TEXT_FORK, ("forget marks and crash", "crash"), (0, 0, 4), lanes=2),
    ),
    Flaw("3", "n counts the retries of a node", patched=_patch(Slot, "_new_run", _run_by_retries)),
    Flaw("3b", "the epoch is not raised at takeover", Rules(raises_epoch=False)),
    Flaw("4", "commits in flight outlive the partition", Rules(drains_on_revoke=False)),
    Flaw("5", "commits lose the metadata", Rules(keeps_metadata=False)),
    Flaw(
        "7",
        "the lowest unfinished offset is committed",
        patched=_patch(Slot, "committable", _commit_unfinished),
        schedule=_at(DIAMOND, DEATHS, (0, 1, 2), 3),
    ),
    Flaw(
        "8",
        "and marks are cut off",
        patched=_patch(Slot, "committable", _commit_unfinished_without_marks),
        schedule=_at(DIAMOND, DEATHS, (0, 1, 2), 3),
    ),
    Flaw("11", "marked before acknowledged", Rules(marks_after_acks=False)),
    Flaw("11b", "a refused output is forgotten", Rules(retries_refused=False)),
    Flaw("12", "texts are resumed without a fence", Rules(fences_texts=False)),
    Flaw("13", "texts are resumed from text", Rules(resumes_from_ids=False)),
    Flaw("15", "ends and children of different runs", patched=_any_end),
    Flaw(
        "16",
        "reconvergence is not compared",
        patched=_patch(Meetings, "agree", _always_agree),
        schedule=_at(TWO_JOINS, DELAYS, (1, 2, 3)),
    ),
    Flaw("17", "filtered items leave no tombstone", patched=_patch(Slot, "_emit_instead", _no_tombstone)),
    Flaw("18", "markers do not reach the join", Rules(markers_pass=False)),
    Flaw("20", "halves of a slot at two owners", Rules(waits_for_all_inputs=False, drops_slot_with_partition=False)),
    Flaw(
        "21",
        "a restart takes the partition count that the topics have",
        Rules(fixes_partition_count=False),
        schedule=lambda rng: mishap(rng, 0),
    ),
    Flaw("22", "answered ids from the last commit on", Rules(window_from_oldest_needed=False)),
    Flaw(
        "23",
        "answered ids are read while a transaction is pending",
        Rules(restores_to_high_watermark=False, waits_for_pending_offsets=False),
    ),
    Flaw("24", "offsets rest on an aborted transaction", Rules(starts_over_after_abort=False)),
    Flaw("25", "several writers of answers", Rules(closer_alone_answers=False)),
    Flaw("26", "keyless requests are called by chance", Rules(keyless_ids_are_places=False)),
    Flaw("26b", "a repeated id is another request", patched=_patch(Closer, "_request", _answered_again)),
    Flaw("27", "duplicates are never closed", patched=_patch(Closer, "_request", _forgotten_duplicates)),
    Flaw("29", "nobody follows control", Rules(control_is_followed=False)),
    Flaw(
        "34",
        "a position out of range is moved",
        Rules(out_of_range_is_fatal=False),
        schedule=lambda rng: mishap(rng, 1),
    ),
)

RUNS_EARLY = Rules(replays_first=False)

DIRECTED = (
    Flaw(
        "9",
        "runs during replay",
        RUNS_EARLY,
        schedule=_at_replays(TEXT_FORK, (("crash", 1), ("crash twice", 1), ("crash and hold", 1)), 2),
        script=marked_then_half_replayed,
        ops=TEXT_FORK,
    ),
    Flaw(
        "1",
        "highest run for each ancestor by itself",
        RUNS_EARLY,
        _each_by_itself,
        _at_replays(CHAIN, (("forget marks and crash", 0), ("crash", 1)), 2),
        older_ancestor_replayed,
        CHAIN,
    ),
    Flaw(
        "10",
        "marks name records",
        RUNS_EARLY,
        _marks_by_record,
        _at_replays(
            DIAMOND,
            (("forget marks and crash", 0), ("forget marks and crash", 1), ("pause", 2), ("crash", 2)),
            3,
            whens=(0, 6),
        ),
        two_selections_marked,
        DIAMOND,
    ),
)
"""Their histories are written down in tests.simulation.scripts, and played through the same world.

Flaws 1 and 10 need flaw 9 beside them: in both histories of PROTOCOL-FLAWS.md an owner runs on part of what it
replays. Where slots replay first (PROTOCOL §7.5) neither can show, because selections then only grow:

* A run is marked, or started, on records that its owner has read, so they stand below the end offsets that the next
  owner notes after it has fetched the marks. The next owner therefore begins with a selection that is at least that
  of every run and mark before it, in the order of §3; and within one owner a selection never falls.
* 1: so a run of a node is higher exactly if its ancestors' runs are at least as high, but for runs of stale owners,
  which are lower than those of the owner whose epoch is current. The highest run of each node by itself and the first
  difference from the root then choose the same records, once the last owner has read everything.
* 10: so each selection holds a record that no earlier one held, namely the one that made it. If all of its records
  are marked, then a selection with that record was finished, which cannot be an earlier one: it is this one.

test_flaws.py shows both halves: either flaw alone breaks no such history, both together do."""


def search(flaw: Flaw, histories: int) -> tuple[int | None, Violation | None]:
    """The seed of the first history that shows the flaw, and what it breaks; (None, None) if none does."""
    with flaw.patched():
        for seed in range(histories):
            found = check(simulate(flaw.schedule(Random(seed)), seed, flaw.rules))  # noqa: S311 - a schedule, no secret
            if found:
                return seed, found[0]
    return None, None
