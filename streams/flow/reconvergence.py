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

Digests are sums over nodes, so that a join of joins adds them up. That is exact as long as a way, once S is
dropped, never descends again. Where it does, as in `share(score, total(scores))`, a digest over all siblings
would have to be compared at one of them, which does not know the others; such a flow is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from streams.core.plan import Comparison
from streams.flow.ancestry import Ancestry, common_prefix, is_above
from streams.flow.errors import RefusedFlowError, ancestry_words


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
    compared: Mapping[str, tuple[Comparison, ...]]
    """Per meeting stage: what it compares; absent where nothing."""


_At = tuple[str, Ancestry]  # a stage, and the shallowest ancestry on the way from there to the input


def digests(stages: Sequence[Traced]) -> Digests:
    """`stages` in topological order. Raises RefusedFlowError where digests could not be compared.

    Cost: O(pairs of inputs × stages × depth) per stage; it runs once, at import.
    """
    by_name = {stage.name: stage for stage in stages}
    carried: dict[str, set[str]] = {stage.name: set() for stage in stages}
    compared: defaultdict[str, tuple[Comparison, ...]] = defaultdict(tuple)
    for meeting in stages:
        for first, second in combinations(sorted(set(meeting.sources)), 2):
            agreed = frozenset(by_name[first].lineage) & frozenset(by_name[second].lineage)
            sides = [_Ways(by_name, source, agreed) for source in (first, second)]
            for shared in sorted(sides[0].stages & sides[1].stages):
                compared[meeting.name] += (Comparison(shared, (first, second)),)
                for side in sides:
                    for stage, onward in side.past_the_drop(by_name[shared]):
                        carried[stage].add(shared)
                        reader = meeting if onward is None else by_name[onward]
                        if len(reader.ancestry) > len(by_name[stage].ancestry):
                            raise _handed_back(meeting.name, by_name[shared], stage, reader)
    return Digests({name: frozenset(stages) for name, stages in carried.items()}, compared)


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

    def past_the_drop(self, shared: Traced) -> Iterator[tuple[str, str | None]]:
        """The stages on these ways from `shared` at and after the first that is not below a node of it, each with the
        stage after it; None for the meeting."""
        waiting = [(at, False) for at in self._next if at[0] == shared.name]
        seen = set(waiting)
        while waiting:
            at, dropped = waiting.pop()
            if dropped and not self._next[at]:
                yield at[0], None
            for onward in self._next[at]:
                if dropped:
                    yield at[0], onward[0]
                step = (onward, dropped or not is_above(shared.ancestry, self._by_name[onward[0]].ancestry))
                if step not in seen:
                    seen.add(step)
                    waiting.append(step)


def _handed_back(meeting: str, shared: Traced, summary: str, reader: Traced) -> RefusedFlowError:
    return RefusedFlowError(
        "flow.handed-back",
        f"its inputs both come from {shared.name!r} ({ancestry_words(shared.ancestry)}), on one way through "
        f"{summary!r}, which was made from several of them and is handed back to {reader.name!r} "
        f"({ancestry_words(reader.ancestry)})",
        stage=meeting,
        hint=f"Do it in one stage that takes the output of {shared.name!r} as a Stream and yields the results",
    )
