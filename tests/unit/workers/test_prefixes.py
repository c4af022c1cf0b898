"""Which text blocks a worker announces: against an engine's cache that is modelled here on its own."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from workers.engines.protocol import BlocksRemoved, BlocksStored, CacheCleared
from workers.routing import BlockHasher
from workers.routing.blocks import BLOCK_BYTES
from workers.service.prefixes import AssumedPrefixes, ReportedPrefixes

TOKENS = 32


def ids_of(text: str) -> tuple[int, ...]:
    """One token is four characters."""
    return tuple(int.from_bytes(text[i : i + 4].encode(), "big") for i in range(0, len(text), 4))


def stored(text: str, name: str, *, parent: str | None = None, first: int = 0) -> BlocksStored:
    """The full token blocks of a text from `first` on, named `name`0, `name`1, …"""
    ids = ids_of(text)[first * TOKENS :]
    ids = ids[: len(ids) // TOKENS * TOKENS]
    names = tuple(f"{name}{first + i}" for i in range(len(ids) // TOKENS))
    return BlocksStored(names, parent, ids, TOKENS)


def told(prefixes: ReportedPrefixes, text: str) -> tuple[int, ...]:
    blocks = BlockHasher().text(text)
    prefixes.computed(blocks, len(text), ids_of(text))
    return blocks


LONG = (string.ascii_letters * 20)[: 5 * BLOCK_BYTES + 40]


def test_blocks_are_announced_when_both_the_text_and_the_event_came() -> None:
    for event_first in (True, False):
        prefixes = ReportedPrefixes(100)
        if event_first:
            prefixes.on(stored(LONG, "a"))
            assert not list(prefixes)
        blocks = told(prefixes, LONG)
        if not event_first:
            # the width of a block is known from the first event on: the same text comes again, as templates do
            prefixes.on(stored(LONG, "a"))
            blocks = told(prefixes, LONG)
        assert set(prefixes) == set(blocks) == prefixes.changes.added


def test_what_the_engine_gives_up_is_taken_back() -> None:
    prefixes = ReportedPrefixes(100)
    prefixes.on(stored(LONG, "a"))
    blocks = told(prefixes, LONG)
    prefixes.changes.clear()
    prefixes.on(BlocksRemoved(("a4", "a3", "never heard of")))
    assert set(prefixes) == set(blocks[:3])
    assert prefixes.changes.removed == set(blocks[3:])
    prefixes.on(CacheCleared())
    assert not list(prefixes)


def test_two_texts_with_one_head_share_its_blocks() -> None:
    head = LONG[: 4 * BLOCK_BYTES]
    one, two = head + "1" * 2 * BLOCK_BYTES, head + "2" * 2 * BLOCK_BYTES
    prefixes = ReportedPrefixes(100)
    prefixes.on(stored(one, "a"))
    told(prefixes, one)
    prefixes.on(stored(two, "b", parent="a3", first=4))
    second = told(prefixes, two)
    assert set(second) <= set(prefixes)
    prefixes.on(BlocksRemoved(("b4", "b5")))
    assert set(prefixes) & set(second) == set(second[:4])


def test_blocks_that_hang_on_an_unknown_one_are_left_out() -> None:
    prefixes = ReportedPrefixes(100)
    prefixes.on(stored(LONG, "a", parent="missed", first=2))
    told(prefixes, LONG)
    assert not list(prefixes)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz"), st.booleans()), max_size=40))
def test_what_is_announced_is_in_the_engines_cache(steps: list[tuple[str, str, bool]]) -> None:
    """Random texts of two parts come and go; the engine's cache is a dictionary from a prefix to its block's name."""
    prefixes, announced = ReportedPrefixes(12), set()
    cache: dict[str, str] = {}
    for head, tail, is_removal in steps:
        text = head * 2 * BLOCK_BYTES + tail * 2 * BLOCK_BYTES
        if is_removal:
            gone = [name for prefix, name in cache.items() if text.startswith(prefix)][-2:]
            cache = {p: n for p, n in cache.items() if n not in gone}
            # an engine gives up the tail first: what hangs on a removed block goes with it
            orphans = [p for p in cache if len(p) > BLOCK_BYTES and p[:-BLOCK_BYTES] not in cache]
            prefixes.on(BlocksRemoved((*gone, *(cache.pop(p) for p in sorted(orphans, key=len, reverse=True)))))
        else:
            for end in range(BLOCK_BYTES, len(text) + 1, BLOCK_BYTES):
                prefix, parent = text[:end], text[: end - BLOCK_BYTES]
                if prefix not in cache:
                    cache[prefix] = prefix
                    prefixes.on(BlocksStored((prefix,), parent or None, ids_of(text[end - BLOCK_BYTES : end]), TOKENS))
            told(prefixes, text)
        announced |= prefixes.changes.added
        announced -= prefixes.changes.removed
        prefixes.changes.clear()
        held = {BlockHasher().text(prefix)[-1] for prefix in cache}
        assert set(prefixes) <= held
        assert announced == set(prefixes), "the changes do not add up to what is held"


def test_an_engine_that_does_not_say_is_taken_to_keep_what_came_last() -> None:
    prefixes = AssumedPrefixes(3)
    prefixes.computed((1, 2), 256, ())
    prefixes.changes.clear()
    prefixes.computed((3, 4), 256, ())
    assert set(prefixes) == {1, 3, 4}, "of the oldest text, the tail is given up first"
    assert (prefixes.changes.added, prefixes.changes.removed) == ({3, 4}, {2})
