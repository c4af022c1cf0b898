"""The flaws of PROTOCOL-FLAWS.md, put back one at a time: into the core by patching it, or by breaking a rule.

They are tests of the tests: a checker that finds nothing proves nothing unless it finds these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import Any
from unittest.mock import patch

from streams.core.closer import Closer
from streams.core.reconvergence import Meetings
from streams.core.slot import Slot
from tests.simulation.checker import Violation, check
from tests.simulation.directed import Script
from tests.simulation.flawed_core import (
    across_lanes,
    always_agree,
    answered_again,
    any_end,
    commit_unfinished,
    commit_unfinished_without_marks,
    each_by_itself,
    forgotten_duplicates,
    marks_by_record,
    no_tombstone,
    run_by_retries,
)
from tests.simulation.history import WHENS, Schedule
from tests.simulation.pipelines import Op
from tests.simulation.rules import Rules
from tests.simulation.schedules import SHAPES, aimed, draw, mishap
from tests.simulation.scripts import marked_then_half_replayed, older_ancestor_replayed, two_selections_marked
from tests.simulation.simulation import simulate


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


# The last stage sees the others' inputs as well: it is the one that waits for what never comes. An answer from a
# complete older run is valid, so it must not have had one.
DIAMOND = (Op(0), Op(0, 1), Op(0, 0, 1), Op(0, 0, 2))
CHAIN = (Op(0), Op(0), Op(0, 0, 1))
TEXT_FORK = (Op(3), Op(1), Op(2))
TWO_JOINS = SHAPES[0]
ONE = (Op(0),)
DEATHS = ("crash", "crash twice", "crash and hold", "forget marks and crash")
WHEN_MARKED, WHEN_IN_TRANSACTION = 6, 7
DELAYS = ("pause", "cut off", "hold", "forget marks and crash")


def _at(
    ops: tuple[Op, ...],
    kinds: tuple[str, ...],
    targets: tuple[int, ...],
    sleeper: int = -1,
    lanes: int = 1,
    whens: Sequence[int] = range(WHENS),
) -> Callable[[Random], Schedule]:
    hits = tuple(product(kinds, targets))
    return lambda rng: aimed(rng, ops, hits, sleeper, lanes=lanes, whens=whens)


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
        patched=across_lanes,
        schedule=_at(TEXT_FORK, ("forget marks and crash", "crash"), (0, 0, 4), lanes=2),
    ),
    Flaw("3", "n counts the retries of a node", patched=_patch(Slot, "_new_run", run_by_retries)),
    Flaw("3b", "the epoch is not raised at takeover", Rules(raises_epoch=False)),
    Flaw("4", "commits in flight outlive the partition", Rules(drains_on_revoke=False)),
    Flaw("4b", "what was assigned is taken over unasked", Rules(claims_before_fetch=False)),
    Flaw("5", "commits lose the metadata", Rules(keeps_metadata=False)),
    Flaw(
        "7",
        "the lowest unfinished offset is committed",
        patched=_patch(Slot, "committable", commit_unfinished),
        schedule=_at(DIAMOND, DEATHS, (0, 1, 2), 3),
    ),
    Flaw(
        "8",
        "and marks are cut off",
        patched=_patch(Slot, "committable", commit_unfinished_without_marks),
        schedule=_at(DIAMOND, DEATHS, (0, 1, 2), 3),
    ),
    Flaw(
        "11",
        "marked before acknowledged",
        Rules(marks_after_acks=False),
        schedule=_at(TEXT_FORK, ("crash",), (0, 1, 2), whens=(WHEN_MARKED,)),
    ),
    Flaw("11b", "a refused output is forgotten", Rules(retries_refused=False)),
    Flaw("12", "texts are resumed without a fence", Rules(fences_texts=False)),
    Flaw("13", "texts are resumed from text", Rules(resumes_from_ids=False)),
    Flaw("15", "ends and children of different runs", patched=any_end),
    Flaw(
        "16",
        "reconvergence is not compared",
        patched=_patch(Meetings, "agree", always_agree),
        schedule=_at(TWO_JOINS, DELAYS, (1, 2, 3)),
    ),
    Flaw("17", "filtered items leave no tombstone", patched=_patch(Slot, "_emit_instead", no_tombstone)),
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
        schedule=_at(ONE, ("crash", "crash and hold", "crash twice"), (1,), whens=(WHEN_IN_TRANSACTION,)),
    ),
    Flaw("24", "offsets rest on an aborted transaction", Rules(starts_over_after_abort=False)),
    Flaw("25", "several writers of answers", Rules(closer_alone_answers=False)),
    Flaw("26", "keyless requests are called by chance", Rules(keyless_ids_are_places=False)),
    Flaw("26b", "a repeated id is another request", patched=_patch(Closer, "_request", answered_again)),
    Flaw("27", "duplicates are never closed", patched=_patch(Closer, "_request", forgotten_duplicates)),
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
        each_by_itself,
        _at_replays(CHAIN, (("forget marks and crash", 0), ("crash", 1)), 2),
        older_ancestor_replayed,
        CHAIN,
    ),
    Flaw(
        "10",
        "marks name records",
        RUNS_EARLY,
        marks_by_record,
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
