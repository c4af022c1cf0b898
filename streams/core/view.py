"""Which of a group's records are current: the greedy, root-first selection of PROTOCOL §3.

The view is a function of the *set* of records. Nearly always all of them agree, so a record costs one look-up per
run that its lineage names; only a run that outranks what was known makes the selection run again over the group.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from streams.core.lineage import Entry, NodeKey, RunId
from streams.core.record import Envelope


@dataclass(slots=True, eq=False)
class Held:
    """A record of an open request, kept until the request closes (PROTOCOL §5.4)."""

    envelope: Envelope
    value: bytes | None
    source: int
    """Index into the stage's sources."""
    offset: int
    entries: list[Entry]


class Verdict(enum.Enum):
    CURRENT = enum.auto()
    OUTRANKED = enum.auto()
    OUTRANKS = enum.auto()  # the view has to be selected again


class View:
    __slots__ = ("runs",)

    def __init__(self) -> None:
        self.runs: dict[NodeKey, RunId] = {}

    def admit(self, held: Held) -> Verdict:
        """Compare a record with the view, entry by entry from the root; the first difference decides."""
        runs = self.runs
        for node, run in held.entries:
            known = runs.get(node)
            if known is None:
                runs[node] = run
            elif run != known:
                return Verdict.OUTRANKED if run < known else Verdict.OUTRANKS
        return Verdict.CURRENT

    def select(self, records: list[Held]) -> list[Held]:
        """Select anew over all records of the group; returns the current ones in the order given."""
        by_node: dict[NodeKey, list[tuple[Held, RunId]]] = {}
        for held in records:
            for node, run in held.entries:
                by_node.setdefault(node, []).append((held, run))
        outranked: set[int] = set()
        self.runs = {}
        for node in sorted(by_node):
            agreeing = [(held, run) for held, run in by_node[node] if id(held) not in outranked]
            if not agreeing:
                continue
            highest = max(run for _, run in agreeing)
            self.runs[node] = highest
            outranked.update(id(held) for held, run in agreeing if run != highest)
        return [held for held in records if id(held) not in outranked]
