"""Two ways from one stage to another must have seen the same runs of it (PROTOCOL §2).

A join drops the runs of what lies below it from its lineage. Where a stage S so dropped is met again over another way,
the records carry a digest instead: a sum of hashes of (path of S, run), over all nodes of S below the *scope*, the
shallowest node on the way. Sums make it independent of order, and a sum of sums a sum over all nodes.

What is compared, by source of the meeting stage: the digests that its records carry, or, where S is still named in
their lineage, the runs named there. Where one side has seen more than one node's worth (a summary that comes back to
each of the items that it was made from), all nodes of the meeting below the wider scope are compared as one *region*.

A digest is whole or absent: in a plan that has them, a node ends only when everything that it is given has ended, and
a fork of a stage that carries one gives its children only then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from streams.core.lineage import Layout, Path, RunId
from streams.core.plan import REQUEST, Plan, StagePlan
from streams.core.view import Held

Digest: TypeAlias = tuple[str, int]
_Seen: TypeAlias = dict[Path, int]
"""Scope -> sum over the nodes of S below it."""

_MODULUS: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class _Shared:
    """A stage that several inputs of this one have seen, or whose digest it hands on."""

    name: str
    index: int
    sources: tuple[int, ...]
    """Sources that know of it, the widest scope first."""
    scope: int
    """The least of their scopes' depths, and at most the stage's own."""
    is_compared: bool


class Meetings:
    """What one stage has to compare and to hand on; fixed by the plan."""

    def __init__(self, plan: Plan, stage: StagePlan, layout: Layout) -> None:
        self._scopes: Final = _scopes(plan)
        known = {source: k for k, source in enumerate(stage.sources) if source != REQUEST}
        must_agree = {comparison.shared for comparison in stage.compares}
        shared = []
        for name in layout.index:
            scopes = {k: self._scope_in(plan, s, name) for s, k in known.items() if self._knows(plan, s, name)}
            is_compared = name in must_agree
            if is_compared or (scopes and name in stage.digests):
                sources = tuple(sorted(scopes, key=lambda k: (scopes[k], k)))
                scope = min(stage.depth, *scopes.values())
                shared.append(_Shared(name, layout.index[name], sources, scope, is_compared))
        self.shared: Final = tuple(shared)
        self._carried: Final = stage.digests
        self.carries: Final = bool(stage.digests)
        compared = [s.scope for s in shared if s.is_compared]
        self.region_depth: Final = min(compared) if compared else stage.depth
        """Nodes below one path of this length are compared together."""
        self.compares: Final = bool(compared)

    @staticmethod
    def _knows(plan: Plan, source: str, name: str) -> bool:
        return name in plan[source].digests or name in plan[source].lineage

    def _scope_in(self, plan: Plan, source: str, name: str) -> int:
        return self._scopes.get((source, name), plan[name].depth)

    def agree(self, groups: Iterable[Iterable[Held]]) -> bool:
        """Whether all sources have seen the same runs, by the current records of a region's groups."""
        records = [held for group in groups for held in group]
        for shared in self.shared:
            if not shared.is_compared:
                continue
            sums: set[int] = set()
            for source in shared.sources:
                seen = self._seen(records, source, shared)
                if seen is None:
                    return False
                if seen:
                    sums.add(sum(seen.values()) % _MODULUS)
            if len(sums) > 1:
                return False
        return True

    def digests(self, records: Iterable[Held]) -> tuple[Digest, ...]:
        """What the node of these current records hands on; whole once the node is complete."""
        return tuple(self._digests(list(records)))

    def _digests(self, records: list[Held]) -> Iterator[Digest]:
        for shared in self.shared:
            if shared.name not in self._carried:
                continue
            for source in shared.sources:
                seen = self._seen(records, source, shared)
                if seen:
                    yield shared.name, sum(seen.values()) % _MODULUS
                    break

    def _seen(self, records: list[Held], source: int, shared: _Shared) -> _Seen | None:
        """None if two records of one scope disagree."""
        found: _Seen = {}
        for held in records:
            if held.source != source:
                continue
            for scope, value in self._seen_by(held, shared):
                if found.setdefault(scope, value) != value:
                    return None
        return found

    def _seen_by(self, held: Held, shared: _Shared) -> Iterator[tuple[Path, int]]:
        envelope = held.envelope
        scope = self._scopes.get((envelope.stage, shared.name))
        if scope is not None:
            for name, value in envelope.digests:
                if name == shared.name:
                    yield envelope.path[:scope], value
            return
        for (index, path), run in held.entries:
            if index == shared.index:
                yield path, _node_hash(path, run)


def _scopes(plan: Plan) -> Mapping[tuple[str, str], int]:
    """(stage, S) -> depth of the scope of the digest of S that the stage's records carry."""
    found: dict[tuple[str, str], int] = {}
    for stage in plan.stages:
        for name in stage.digests:
            depths = [stage.depth]
            for source in stage.sources:
                if (source, name) in found:
                    depths.append(found[source, name])
                elif source != REQUEST and name in plan[source].lineage:
                    depths.append(plan[name].depth)
            found[stage.name, name] = min(depths)
    return found


def _node_hash(path: Path, run: RunId) -> int:
    return int.from_bytes(hashlib.blake2b(repr((path, run[0], run[1])).encode(), digest_size=8).digest(), "big")
