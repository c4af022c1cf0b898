"""Which blocks of text a worker's cache holds: assumed from what it was sent, or told by the engine.

Routers cut text by bytes, engines by tokens (workers.routing.blocks). Pure: no clock, no I/O.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Final, Protocol

from workers.engines.protocol import BlocksRemoved, BlocksStored, CacheCleared, CacheEvent
from workers.routing.blocks import BLOCK_BYTES


class Changes:
    """Text blocks added and removed since somebody asked."""

    def __init__(self) -> None:
        self.added: Final[set[int]] = set()
        self.removed: Final[set[int]] = set()

    def add(self, block: int) -> None:
        self.added.add(block)
        self.removed.discard(block)

    def remove(self, block: int) -> None:
        self.removed.add(block)
        self.added.discard(block)

    def clear(self) -> None:
        self.added.clear()
        self.removed.clear()


class Prefixes(Protocol):
    """What is announced as cached."""

    changes: Changes

    def __contains__(self, block: int) -> bool: ...
    def __iter__(self) -> Iterator[int]: ...

    def computed(self, blocks: Sequence[int], size: int, ids: Sequence[int]) -> None:
        """The engine has computed a text of so many bytes and these token ids (none where it does not say)."""


class AssumedPrefixes:
    """Of an engine that does not say: what was computed last, as much as its cache holds."""

    def __init__(self, blocks_max: int) -> None:
        self.changes = Changes()
        self._blocks_max: Final = max(1, blocks_max)
        self._held: Final[OrderedDict[int, None]] = OrderedDict()

    def __contains__(self, block: int) -> bool:
        return block in self._held

    def __iter__(self) -> Iterator[int]:
        return iter(self._held)

    def computed(self, blocks: Sequence[int], size: int, ids: Sequence[int]) -> None:
        del size, ids
        for block in reversed(blocks):  # the tail is given up first, as by engines
            if block not in self._held:
                self.changes.add(block)
            self._held[block] = None
            self._held.move_to_end(block)
        while len(self._held) > self._blocks_max:
            oldest, _ = self._held.popitem(last=False)
            self.changes.remove(oldest)


class ReportedPrefixes:
    """Of an engine that says which token blocks it keeps.

    Events name blocks in the engine's way; a chain of hashes over token ids ties them to the texts that were computed.
    A block of text is held while the token block in which it ends is. Where in the tokens a byte lies is taken in
    proportion, which is exact at the end of the text and some tokens off inside: a block of text can come and go with
    the token block beside its own.
    """

    def __init__(self, blocks_max: int) -> None:
        self.changes = Changes()
        # Token blocks that a text was seen to end in; those held are never more than the engine has.
        self._known_max: Final = 2 * max(1, blocks_max)
        self._width = 0
        self._chain: Final[dict[Hashable, bytes]] = {}  # the engine's block -> its place in our chain
        self._held: Final[dict[bytes, int]] = {}  # place -> the engine's blocks there
        self._texts: Final[OrderedDict[bytes, set[int]]] = OrderedDict()  # place -> text blocks that end there
        self._holders: Final[dict[int, int]] = {}  # text block -> held places that it ends in

    def __contains__(self, block: int) -> bool:
        return block in self._holders

    def __iter__(self) -> Iterator[int]:
        return iter(self._holders)

    # -- what the engine says --------------------------------------------------------------------------------------

    def on(self, event: CacheEvent) -> None:
        match event:
            case BlocksStored():
                self._store(event)
            case BlocksRemoved(blocks):
                for block in blocks:
                    self._remove(block)
            case CacheCleared():
                for block in tuple(self._chain):
                    self._remove(block)

    def _store(self, event: BlocksStored) -> None:
        if event.parent is not None and event.parent not in self._chain:
            return  # a gap: what hangs on it is not known
        self._width = event.block_tokens
        before = b"" if event.parent is None else self._chain[event.parent]
        for block, place in zip(event.blocks, _places(event.token_ids, event.block_tokens, before), strict=False):
            if block in self._chain:
                continue
            self._chain[block] = place
            self._held[place] = self._held.get(place, 0) + 1
            if self._held[place] == 1:
                for text in self._texts.get(place, ()):
                    self._gain(text)

    def _remove(self, block: Hashable) -> None:
        place = self._chain.pop(block, None)
        if place is None:
            return
        self._held[place] -= 1
        if not self._held[place]:
            del self._held[place]
            for text in self._texts.get(place, ()):
                self._lose(text)

    # -- what was computed -----------------------------------------------------------------------------------------

    def computed(self, blocks: Sequence[int], size: int, ids: Sequence[int]) -> None:
        if not self._width or not ids:
            return
        places = list(_places(ids, self._width, b""))
        for number, text in enumerate(blocks, 1):
            tokens = -(-len(ids) * number * BLOCK_BYTES // size)  # up to the end of this block of text
            at = (tokens - 1) // self._width
            if at >= len(places):
                break  # it ends in tokens that fill no block: never cached
            self._tie(places[at], text)
        while len(self._texts) > self._known_max:
            place, texts = self._texts.popitem(last=False)
            if place in self._held:
                for text in texts:
                    self._lose(text)

    def _tie(self, place: bytes, text: int) -> None:
        texts = self._texts.setdefault(place, set())
        self._texts.move_to_end(place)
        if text not in texts:
            texts.add(text)
            if place in self._held:
                self._gain(text)

    def _gain(self, text: int) -> None:
        count = self._holders[text] = self._holders.get(text, 0) + 1
        if count == 1:
            self.changes.add(text)

    def _lose(self, text: int) -> None:
        self._holders[text] -= 1
        if not self._holders[text]:
            del self._holders[text]
            self.changes.remove(text)


def _places(ids: Sequence[int], width: int, before: bytes) -> Iterable[bytes]:
    """Chained hashes of the full blocks of token ids."""
    raw, place = array("q", ids).tobytes(), before
    for start in range(0, len(ids) // width * width, width):
        place = hashlib.blake2b(place + raw[start * 8 : (start + width) * 8], digest_size=12).digest()
        yield place
