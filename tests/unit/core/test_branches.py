from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.core.branches import Branches, Next
from streams.core.lineage import Path
from streams.core.record import Envelope, Kind
from streams.core.view import Held


def held(kind: Kind, path: Path, total: int = 0) -> Held:
    return Held(Envelope("r", kind, path=path, total=total), None, 0, 0, [])


@st.composite
def subtrees(draw: st.DrawFn, path: Path = (), levels: int = 2) -> list[Held]:
    """All records below one fork: children, whole subtrees that ended otherwise, and ends."""
    count = draw(st.integers(0, 3))
    found = [held(Kind.END, path, count)]
    for i in range(count):
        child = (*path, i)
        if levels > 1 and draw(st.booleans()):
            found += draw(subtrees(child, levels - 1))
        else:
            leaf = Kind.ITEM if levels == 1 else Kind.TOMBSTONE
            found.append(held(draw(st.sampled_from([leaf, Kind.TOMBSTONE, Kind.ERROR])), child))
    return found


@given(records=subtrees(), data=st.data())
def test_it_is_complete_with_the_last_record_and_never_before(records: list[Held], data: st.DataObject) -> None:
    branches = Branches((), 2)
    shuffled = data.draw(st.permutations(records))
    for record in shuffled:
        assert not branches.is_complete
        branches.add(record)
    assert branches.is_complete


@given(records=subtrees(), data=st.data())
def test_children_are_given_once_each_in_index_order(records: list[Held], data: st.DataObject) -> None:
    branches, given_out = Branches((), 2), []
    walk = branches.in_order()
    for record in data.draw(st.permutations(records)):
        branches.add(record)
        while isinstance(found := next(walk), Held):
            given_out.append(found.envelope.path)
    assert found is Next.OVER
    assert given_out == sorted(r.envelope.path for r in records if r.envelope.kind is not Kind.END)


@given(records=subtrees(), data=st.data())
def test_unordered_children_are_given_as_they_come(records: list[Held], data: st.DataObject) -> None:
    branches, given_out = Branches((), 2), []
    walk = branches.as_they_come()
    shuffled = data.draw(st.permutations(records))
    for record in shuffled:
        branches.add(record)
        while isinstance(found := next(walk), Held):
            given_out.append(found)
    assert found is Next.OVER
    assert given_out == [r for r in shuffled if r.envelope.kind is not Kind.END]


def test_an_empty_fork_is_complete() -> None:
    branches = Branches((4,), 1)
    branches.add(held(Kind.END, (4,), 0))
    assert branches.is_complete
    assert next(branches.in_order()) is Next.OVER
