"""Chained block hashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import ConfigError, RecordError
from workers.routing import BlockHasher, pack_blocks, unpack_blocks


@given(common=st.text(max_size=600), first=st.text(max_size=300), second=st.text(max_size=300))
def test_blocks_are_shared_exactly_as_far_as_the_text_is(common: str, first: str, second: str) -> None:
    one, two = common + first, common + second
    hashes = [BlockHasher("bytes/16").text(t) for t in (one, two)]
    shared = 0
    for a, b in zip(one.encode(), two.encode(), strict=False):
        if a != b:
            break
        shared += 1
    same = sum(1 for a, b in zip(*hashes, strict=False) if a == b)
    assert same == min(shared // 16, *(len(h) for h in hashes))


@given(texts=st.lists(st.text(alphabet="ab", max_size=200), max_size=8))
def test_remembering_a_stage_changes_no_hash(texts: list[str]) -> None:
    remembering = BlockHasher("bytes/8")
    for text in texts:
        assert remembering.text(text, stage="s") == BlockHasher("bytes/8").text(text)


@given(ids=st.lists(st.integers(0, 2**32 - 1), max_size=200))
def test_tokens_are_cut_by_their_number(ids: list[int]) -> None:
    assert len(BlockHasher("tokens/32").tokens(ids)) == len(ids) // 32


@pytest.mark.parametrize("bad", ["words/3", "bytes/0", "bytes/x", "bytes", "tokens/99999999", "bytes/²"])
def test_an_unknown_cut_is_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match="tokens/N"):
        BlockHasher(bad)


def test_text_and_tokens_are_not_confused() -> None:
    with pytest.raises(ConfigError):
        BlockHasher("tokens/32").text("x")
    with pytest.raises(ConfigError):
        BlockHasher("bytes/128").tokens([1])


@pytest.mark.parametrize("bad", [[-1], [2**32], ["x"]])
def test_a_token_id_out_of_range_is_refused(bad: list[int]) -> None:
    with pytest.raises(RecordError):
        BlockHasher("tokens/32").tokens(bad)


@given(hashes=st.lists(st.integers(0, 2**64 - 1), max_size=100))
def test_packing_is_reversible(hashes: list[int]) -> None:
    assert unpack_blocks(pack_blocks(hashes)) == tuple(hashes)


@pytest.mark.parametrize("bad", ["?", "AAA=", "AAAA", "é"])
def test_a_broken_list_is_refused(bad: str) -> None:
    with pytest.raises(RecordError, match="pack_blocks"):
        unpack_blocks(bad)
