"""The approximate prefix index that several published routers keep: who was sent which prefix, least "
"recent dropped."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

# llm-d's (Gateway API inference extension) `lruCapacityPerServer`: 31,250 blocks a server.
BLOCKS_PER_WORKER_MAX: Final = 31_250


class PrefixMemory:
    """Blocks sent to each slot, bounded per slot; knows nothing of what the workers evicted."""

    def __init__(self, blocks_max: int = BLOCKS_PER_WORKER_MAX) -> None:
        self._blocks_max = blocks_max
        self._bits: dict[int, int] = {}
        self._of_slot: dict[int, OrderedDict[int, None]] = {}

    def add(self, blocks: tuple[int, ...], slot: int) -> None:
        """These were sent there now."""
        mine, bits, bit = self._of_slot.setdefault(slot, OrderedDict()), self._bits, 1 << slot
        for block in blocks:
            if block in mine:
                mine.move_to_end(block)
            else:
                mine[block] = None
                bits[block] = bits.get(block, 0) | bit
        while len(mine) > self._blocks_max:
            self._drop(mine.popitem(last=False)[0], slot)

    def matches(self, blocks: tuple[int, ...], slots: list[int]) -> dict[int, int]:
        """Leading blocks that each of these slots was sent."""
        found = dict.fromkeys(slots, 0)
        holding = sum(1 << s for s in slots)
        depth = 0
        for depth, block in enumerate(blocks):  # depth is read after the loop
            still = self._bits.get(block, 0) & holding
            if still != holding:
                _note(found, holding ^ still, depth)
                holding = still
                if not still:
                    return found
        _note(found, holding, len(blocks))
        return found

    def size(self, slot: int) -> int:
        """Blocks remembered of it."""
        return len(self._of_slot.get(slot, ()))

    def forget(self, slot: int) -> None:
        """The worker is gone, or empty."""
        for block in self._of_slot.pop(slot, ()):
            self._drop(block, slot)

    def _drop(self, block: int, slot: int) -> None:
        left = self._bits[block] & ~(1 << slot)
        if left:
            self._bits[block] = left
        else:
            del self._bits[block]


def _note(found: dict[int, int], bits: int, depth: int) -> None:
    while bits:
        low = bits & -bits
        found[low.bit_length() - 1] = depth
        bits ^= low
