"""What a fleet believes of its workers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.routing.strategies import MODEL, state
from workers.routing import Fleet, Heard


def depth(fleet: Fleet, worker: str, *blocks: int) -> float:
    return float(fleet.cached_blocks(blocks, {})[fleet.members[worker].slot])


def test_deltas_add_and_remove() -> None:
    fleet = Fleet(MODEL)
    fleet.update(state("w1", added=[1, 2, 3]), 100.0)
    fleet.update(state("w1", sequence=1, added=[4], removed=[3], ts=100.1), 100.1)
    assert depth(fleet, "w1", 1, 2, 3, 4) == 2
    assert depth(fleet, "w1", 1, 2, 4) == 3


def test_a_snapshot_replaces_everything() -> None:
    fleet = Fleet(MODEL)
    fleet.update(state("w1", added=[1, 2, 3]), 100.0)
    fleet.update(state("w1", sequence=1, added=[1, 9], full=True, ts=100.1), 100.1)
    assert depth(fleet, "w1", 1, 9) == 2
    assert fleet.entries == 2


def test_a_gap_marks_the_blocks_as_incomplete_until_a_snapshot() -> None:
    fleet = Fleet(MODEL)
    fleet.update(state("w1"), 100.0)
    fleet.update(state("w1", sequence=2, ts=100.1), 100.1)
    assert not fleet.members["w1"].is_complete
    fleet.update(state("w1", sequence=3, full=True, ts=100.2), 100.2)
    assert fleet.members["w1"].is_complete


def test_of_two_processes_with_one_id_the_newer_counts() -> None:
    fleet = Fleet(MODEL)
    fleet.update(state("w1", epoch=5, lanes=(1,)), 100.0)
    assert fleet.update(state("w1", epoch=6, lanes=(2,)), 100.1) is Heard.RESTARTED
    assert fleet.update(state("w1", epoch=5, sequence=1, lanes=(1,)), 100.2) is Heard.IGNORED
    assert fleet.members["w1"].state.lanes == (2,)


def test_records_out_of_order_and_of_another_model_are_ignored() -> None:
    fleet = Fleet(MODEL)
    fleet.update(state("w1", sequence=3), 100.0)
    assert fleet.update(state("w1", sequence=3), 100.1) is Heard.IGNORED
    assert fleet.update(state("w2", model="other"), 100.1) is Heard.IGNORED
    assert list(fleet.members) == ["w1"]


def test_leaving_ends_it_and_its_late_records_do_not_revive_it() -> None:
    fleet = Fleet(MODEL)
    fleet.update(state("w1", epoch=4), 100.0)
    assert fleet.update(state("w1", epoch=4, sequence=1, leaving=True), 100.1) is Heard.LEFT
    assert fleet.update(state("w1", epoch=3, sequence=9), 100.2) is Heard.IGNORED
    assert fleet.slots() == []
    assert fleet.update(state("w1", epoch=5), 100.3) is Heard.JOINED


def test_a_replayed_record_tells_of_blocks_and_makes_nobody_live() -> None:
    fleet = Fleet(MODEL)
    fleet.update(state("w1", added=[1]), 100.0, replayed=True)
    assert fleet.slots() == []
    fleet.update(state("w1", sequence=1, ts=100.1), 100.1)
    assert fleet.slots() == [0]
    assert depth(fleet, "w1", 1) == 1


def test_a_silent_worker_expires_and_its_slot_is_used_again() -> None:
    fleet = Fleet(MODEL)
    fleet.update(state("w1", added=[1]), 100.0)
    fleet.update(state("w2"), 100.9)
    assert fleet.expire(101.0) == ()
    assert fleet.expire(101.1) == ("w1",)
    assert fleet.index == {}
    fleet.update(state("w3"), 101.2)
    assert fleet.members["w3"].slot == 0
    assert depth(fleet, "w3", 1) == 0


def test_clocks_that_disagree_by_an_hour_do_not_matter() -> None:
    fleet = Fleet(MODEL)
    for i in range(5):
        fleet.update(state("w1", sequence=i, ts=3_700.0 + i / 20), 100.0 + i / 20 + 0.004)
    assert fleet.expire(100.9) == ()
    assert abs(fleet.ts[0] - 100.204) < 0.01


def test_the_index_is_bounded_and_keeps_the_heads() -> None:
    fleet = Fleet(MODEL, entries_max=100)
    fleet.update(state("w1", added=range(500)), 100.0)
    assert fleet.entries == 100
    assert fleet.members["w1"].unlisted == 400
    assert depth(fleet, "w1", *range(500)) == 100
    fleet.expire(200.0)
    assert fleet.index == {}


@given(
    held=st.lists(st.sets(st.integers(0, 20)), min_size=1, max_size=70),
    sent=st.dictionaries(st.integers(0, 20), st.integers(0, 2**70 - 1)),
    length=st.integers(0, 21),
)
@settings(deadline=None)
def test_the_longest_prefix_is_found_for_every_worker(held: list[set[int]], sent: dict[int, int], length: int) -> None:
    """Against a plain loop; many workers take the other way of writing the lengths."""
    fleet = Fleet(MODEL)
    for i, blocks in enumerate(held):
        fleet.update(state(f"w{i}", added=sorted(blocks)), 100.0)
    found = fleet.cached_blocks(range(length), sent)
    for i, blocks in enumerate(held):
        slot = fleet.members[f"w{i}"].slot
        expected = next((b for b in range(length) if b not in blocks and not sent.get(b, 0) >> slot & 1), length)
        assert found[slot] == expected


@pytest.mark.parametrize("most", [200, 700])
def test_long_prompts_and_many_workers(most: int) -> None:
    """Lengths beyond a byte are not cut."""
    fleet = Fleet(MODEL)
    for i in range(100):
        fleet.update(state(f"w{i}", added=range(most * i // 100)), 100.0)
    found = fleet.cached_blocks(range(most), {})
    assert [found[fleet.members[f"w{i}"].slot] for i in range(100)] == [most * i // 100 for i in range(100)]


def test_a_hundred_workers_grow_the_columns() -> None:
    fleet = Fleet(MODEL)
    for i in range(100):
        fleet.update(state(f"w{i}", pend=float(i)), 100.0)
    assert [fleet.pend[fleet.members[f"w{i}"].slot] for i in range(100)] == [float(i) for i in range(100)]
    assert int(np.isfinite(fleet.gone).sum()) == 100


def test_an_empty_slot_is_an_error() -> None:
    with pytest.raises(IndexError):
        Fleet(MODEL).by_slot[0]
