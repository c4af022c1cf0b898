"""The view is a function of the set of records, whatever the order in which they came (PROTOCOL §3)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.core.lineage import NodeKey, RunId
from streams.core.record import Envelope, Kind
from streams.core.view import Held, Verdict, View

NODES: tuple[NodeKey, ...] = ((0, ()), (1, ()), (2, (0,)), (2, (1,)), (3, (0,)))
ENVELOPE = Envelope("r", Kind.ITEM)


@st.composite
def records(draw: st.DrawFn) -> Held:
    nodes = sorted(draw(st.sets(st.sampled_from(NODES), min_size=1)))
    return Held(ENVELOPE, None, 0, 0, [(n, RunId(draw(st.integers(1, 3)), draw(st.integers(1, 2)))) for n in nodes])


def specified(found: list[Held]) -> tuple[dict[NodeKey, RunId], set[int]]:
    """PROTOCOL §3, word for word."""
    view: dict[NodeKey, RunId] = {}
    for node in sorted({n for held in found for n, _ in held.entries}):
        agreeing = [
            dict(held.entries)[node]
            for held in found
            if node in dict(held.entries) and all(view.get(n, run) == run for n, run in held.entries if n < node)
        ]
        if agreeing:
            view[node] = max(agreeing)
    return view, {id(h) for h in found if all(view.get(n, run) == run for n, run in h.entries)}


@given(found=st.lists(records(), max_size=7), data=st.data())
def test_the_view_does_not_depend_on_the_order(found: list[Held], data: st.DataObject) -> None:
    view, seen, current = View(), [], set()
    for held in data.draw(st.permutations(found)):
        seen.append(held)
        match view.admit(held):
            case Verdict.CURRENT:
                current.add(id(held))
            case Verdict.OUTRANKS:
                current = {id(h) for h in view.select(seen)}
    assert (view.runs, current) == specified(found)


def test_a_record_that_is_outranked_at_the_root_raises_nothing() -> None:
    view = View()
    view.admit(Held(ENVELOPE, None, 0, 0, [((0, ()), RunId(1, 2)), ((1, ()), RunId(1, 2))]))
    stale = Held(ENVELOPE, None, 0, 1, [((0, ()), RunId(1, 1)), ((1, ()), RunId(9, 1))])
    assert view.admit(stale) is Verdict.OUTRANKED
    assert view.runs[1, ()] == RunId(1, 2)
