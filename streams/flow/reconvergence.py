"""Which stages' runs a digest must carry past a join, so that two ways of one flow cannot mix runs (PROTOCOL
§2).

`lin` names the runs of all ancestors at the item's depth or above. A join drops the deeper ones. That loses
nothing, unless a later stage *meets* the dropped stage S again over another way: two of its inputs could then
be built on different runs of S, and their lineages would not show it. The join therefore writes a digest of
(path of S → run), the stages on the way hand it on, and the meeting stage compares.

Which ways count? Two inputs of a stage agree, by lineage, on every stage T that both name. If a way from S
leads through such a T, and T is not dropped between there and the input, then T's run says what this way saw
of S; a stage that met S itself has compared. So S needs comparing at a meeting exactly if *both* inputs have
a way from S without such a T. S itself counts as T, if both inputs name it and the way never rises above it.
All stages in both sets are compared, not only the last ones: a fork that gave nothing has no later stage that
would show its run.

One side may well name S in its own lineage. This is how a summary of siblings comes back to each of them:
`share(score, total(scores))` compares the run of `score` that its lineage names with those that `total` was
built on. And it may do both: the output of `share` names the run of its own `score`, and was also built on
those of all its siblings; if that meets a third thing made from all scores, its digest is what counts, so
`share` carries one, too.

A digest covers all nodes of S below the *scope*, the shallowest node on its way. Where the scopes of the two
sides differ, comparing needs all nodes of S below the shallower scope at one instance, so the meeting groups
there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from streams.flow.ancestry import Ancestry, common_prefix, is_above


@dataclass(frozen=True, slots=True)
class Traced:
    """A stage as far as lineages matter."""

    name: str
    sources: tuple[str, ...]
    """Stages only, the request left out: its serial is in every record."""
    ancestry: Ancestry
    lineage: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Digests:
    carried: Mapping[str, frozenset[str]]
    """Per stage: whose digests its records carry."""
    scope_depth: Mapping[str, int]
    """Per meeting stage: the depth at which it must group to compare; absent where nothing more is asked."""


_At = tuple[str, Ancestry]  # a stage, and the shallowest ancestry on the way from there to the input


def digests(stages: Sequence[Traced]) -> Digests:
    """`stages` in topological order. Cost: O(pairs of inputs × stages × depth) per stage; it runs once,
    at import."""
    by_name = {stage.name: stage for stage in stages}
    carried: dict[str, set[str]] = {stage.name: set() for stage in stages}
    scope_depth: dict[str, int] = {}
    for meeting in stages:
        for first, second in combinations(sorted(set(meeting.sources)), 2):
            agreed = frozenset(by_name[first].lineage) & frozenset(by_name[second].lineage)
            sides = [_Ways(by_name, source, agreed) for source in (first, second)]
            for shared in sorted(sides[0].stages & sides[1].stages):
                for side in sides:
                    for stage in side.past_the_drop(by_name[shared]):
                        carried[stage].add(shared)
                scopes = {side.scope_depth(shared) for side in sides}
                if len(scopes) > 1:
                    scope_depth[meeting.name] = min(scopes | {scope_depth.get(meeting.name, min(scopes))})
    return Digests({name: frozenset(stages) for name, stages in carried.items()}, scope_depth)


class _Ways:
    """All ways to one input on which nothing that both sides agree on decides what is seen of the stages
    before."""

    def __init__(self, by_name: Mapping[str, Traced], source: str, agreed: frozenset[str]) -> None:
        self._by_name = by_name
        self._next: dict[_At, set[_At]] = {}  # towards the input
        start = (source, by_name[source].ancestry)
        waiting: list[tuple[_At, _At | None]] = [(start, None)]
        while waiting:
            at, onward = waiting.pop()
            name, shallowest = at
            if name in agreed and is_above(by_name[name].ancestry, shallowest):
                continue
            known = at in self._next
            self._next.setdefault(at, set()).update(() if onward is None else (onward,))
            if not known:
                waiting.extend(
                    ((before, common_prefix(shallowest, by_name[before].ancestry)), at)
                    for before in by_name[name].sources
                )

    @property
    def stages(self) -> set[str]:
        return {name for name, _ in self._next}

    def scope_depth(self, shared: str) -> int:
        return min(len(shallowest) for name, shallowest in self._next if name == shared)

    def past_the_drop(self, shared: Traced) -> Iterator[str]:
        """The stages on these ways from `shared` at and after the first that is not below a node of it."""
        waiting = [(at, False) for at in self._next if at[0] == shared.name]
        seen = set(waiting)
        while waiting:
            at, dropped = waiting.pop()
            if dropped:
                yield at[0]
            for onward in self._next[at]:
                step = (onward, dropped or not is_above(shared.ancestry, self._by_name[onward[0]].ancestry))
                if step not in seen:
                    seen.add(step)
                    waiting.append(step)
