from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.lineage import Serial
from streams.core.offsets import METADATA_BYTES_MAX, Marks, OpenOffsets, SlotMetadata, decode_metadata

marks = st.lists(st.binary(min_size=8, max_size=8), unique=True)


@given(
    seen=st.lists(st.none() | st.integers(0, 4), max_size=20),
    closed=st.lists(st.integers(0, 4), max_size=5),
    start=st.integers(0, 100),
)
def test_the_committable_offset_is_the_lowest_of_an_open_request(
    seen: list[int | None], closed: list[int], start: int
) -> None:
    offsets = OpenOffsets(start)
    for i, request in enumerate(seen):
        offsets.saw(start + i, None if request is None else Serial(0, request))
    for request in closed:
        offsets.close(Serial(0, request))
    still_open = [start + i for i, r in enumerate(seen) if r is not None and r not in closed]
    assert offsets.committable == min(still_open, default=start + len(seen))


@given(epoch=st.integers(0, 2**40), position=st.none() | st.integers(0, 2**60), found=marks)
def test_metadata_is_read_as_it_was_written_and_fits(epoch: int, position: int | None, found: list[bytes]) -> None:
    metadata = SlotMetadata(epoch, position, tuple(found))
    assert decode_metadata(metadata.encode()) == metadata


def test_marks_are_cut_off_where_the_broker_would_refuse_them() -> None:
    many = tuple(i.to_bytes(8, "big") for i in range(2_000))
    text = SlotMetadata(2**40, 2**60, many).encode()
    found = decode_metadata(text)
    assert len(text) <= METADATA_BYTES_MAX
    assert found is not None
    assert found.marks == many[: len(found.marks)]
    assert len(found.marks) > 300


@pytest.mark.parametrize(
    "text", [None, "", "hello", "2;1;;", "1;x;;", "1;1;y;", "1;1;;!!", "1;1;", f"{base64.b64encode(b'1')!r};;;"]
)
def test_foreign_metadata_is_none(text: str | None) -> None:
    assert decode_metadata(text) is None


def test_the_newest_marks_come_first_and_survive_a_takeover() -> None:
    found = Marks((b"b" * 8, b"a" * 8))
    found.add(b"c" * 8)
    assert found.newest() == (b"c" * 8, b"b" * 8, b"a" * 8)
    assert found.newest(1) == (b"c" * 8,)
    assert Marks(found.newest()).newest() == found.newest()
    found.keep_only({b"a" * 8})
    assert found.newest() == (b"a" * 8,)
