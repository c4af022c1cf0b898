from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.control import ClosedRequests, Control, ControlEntry, decode_control
from streams.core.lineage import Serial
from streams.errors import RecordError


@st.composite
def control_logs(draw: st.DrawFn) -> list[ControlEntry]:
    """What a closer writes: offsets closed in any order, each entry with the lowest open offset after its batch."""
    order = draw(st.permutations(range(draw(st.integers(1, 8)))))
    written, closed = ClosedRequests(), set[int]()
    entries: list[ControlEntry] = []
    while order:
        batch, order = order[: draw(st.integers(1, 3))], order[3:]
        closed |= set(batch)
        low = min(set(range(10)) - closed)
        new = [ControlEntry(o, "answered", low, written.since(low)) for o in batch]
        for entry in new:
            written.on(len(entries), entry)
            entries.append(entry)
    return entries


@given(log=control_logs())
def test_a_follower_knows_exactly_what_is_closed(log: list[ControlEntry]) -> None:
    follower, closed = ClosedRequests(), set()
    for at, entry in enumerate(log):
        follower.on(at, entry)
        closed.add(entry.offset)
        assert {o for o in range(10) if o in follower} == closed | set(range(entry.low))


@given(log=control_logs())
def test_who_starts_at_since_knows_what_who_read_everything_knows(log: list[ControlEntry]) -> None:
    whole, late = ClosedRequests(), ClosedRequests()
    for at, entry in enumerate(log):
        whole.on(at, entry)
        if at >= log[-1].since:
            late.on(at, entry)
    assert [o in late for o in range(10)] == [o in whole for o in range(10)]


def test_memory_is_that_of_the_window() -> None:
    follower = ClosedRequests()
    for offset in range(10_000):
        follower.on(offset, ControlEntry(offset, "answered", offset + 1, offset))
    assert (follower.low, len(follower._above)) == (10_000, 0)


def test_partitions_are_apart() -> None:
    control = Control()
    control.of(1).on(0, ControlEntry(3, "answered", 0, 0))
    assert control.is_closed(Serial(1, 3))
    assert not control.is_closed(Serial(0, 3))


def test_an_entry_is_read_as_it_was_written() -> None:
    entry = ControlEntry(7, "deadline", 3, 2)
    assert decode_control(entry.encode()) == entry


@pytest.mark.parametrize(
    "value", [None, b"", b"[]", b'{"offset": 1}', b'{"offset": "x", "reason": "", "low": 0, "since": 0}']
)
def test_what_is_no_entry_is_refused(value: bytes | None) -> None:
    with pytest.raises(RecordError):
        decode_control(value)
