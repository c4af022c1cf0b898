"""What a worker has to do, measured from outside its engine: the numbers that routers place prompts by."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from workers.routing import BlockHasher, pack_blocks

WEIGHT: Final = 0.05
"""Of one observation in the moving means; some twenty prompts are remembered."""


@dataclass(slots=True)
class _Prompt:
    stage: str
    tokens: float
    uncached: float
    blocks: tuple[int, ...]
    weight: float
    since: float
    """When the engine was given it."""
    last: float = 0.0
    """When its last tokens came; 0 before the first."""
    output: int = 0


class Load:
    """Accounts prompts from lane to last token. No clock: seconds since 1970 are passed in."""

    def __init__(self, kv_blocks: int) -> None:
        """`kv_blocks`: prefix blocks that the engine's cache holds, of BLOCK_BYTES of text each."""
        self.hasher: Final = BlockHasher()
        self.tokens_per_byte = 0.25
        self.rate = 0.0
        self.base = 0.0
        self.outputs: Final[dict[str, float]] = {}
        self.version = 0
        self._kv_blocks: Final = max(1, kv_blocks)
        self._prompts: Final[dict[object, _Prompt]] = {}
        self._cached: Final[OrderedDict[int, None]] = OrderedDict()
        self._added: Final[set[int]] = set()
        self._removed: Final[set[int]] = set()

    def taken(self, key: object, text: str, stage: str, weight: float, now: float) -> None:
        """The prompt waits in this worker."""
        data = len(text.encode())
        blocks = self.hasher.text(text, stage=stage)
        held = 0
        for block in blocks:
            if block not in self._cached:
                break
            held += 1
        tokens = max(1.0, data * self.tokens_per_byte)
        uncached = max(1.0, tokens - held * 128 * self.tokens_per_byte)
        self._prompts[key] = _Prompt(stage, tokens, uncached, blocks, weight, now)
        self.version += 1

    def begun(self, key: object, now: float) -> None:
        """The engine has it now."""
        if key in self._prompts:
            self._prompts[key].since = now

    def tokens(self, key: object, count: int, now: float) -> None:
        prompt = self._prompts.get(key)
        if prompt is None:
            return
        if not prompt.last:
            took = max(now - prompt.since, 1e-4)
            self.rate = _moved(self.rate, prompt.uncached / took)
            self._cache(prompt.blocks)
        else:
            self.base = _moved(self.base, (now - prompt.last) / max(count, 1))
        prompt.last = now
        prompt.output += count
        self.version += 1

    def finished(self, key: object) -> None:
        prompt = self._prompts.pop(key, None)
        if prompt is not None:
            if prompt.output:
                self.outputs[prompt.stage] = _moved(self.outputs.get(prompt.stage, 0.0), float(prompt.output))
            self.version += 1

    def _cache(self, blocks: tuple[int, ...]) -> None:
        for block in blocks:
            if block not in self._cached:
                self._added.add(block)
                self._removed.discard(block)
            self._cached[block] = None
            self._cached.move_to_end(block)
        while len(self._cached) > self._kv_blocks:
            oldest, _ = self._cached.popitem(last=False)
            self._removed.add(oldest)
            self._added.discard(oldest)

    # -- what is announced -----------------------------------------------------------------------------------------

    @property
    def pending(self) -> float:
        """Prompt tokens accepted, not cached and not computed yet."""
        return sum(p.uncached for p in self._prompts.values() if not p.last)

    @property
    def weight(self) -> float:
        """Σκ of the prompts that wait or decode here."""
        return sum(p.weight for p in self._prompts.values())

    @property
    def running(self) -> int:
        return sum(1 for p in self._prompts.values() if p.last)

    @property
    def waiting(self) -> int:
        return len(self._prompts) - self.running

    def all_blocks(self) -> str:
        self._added.clear()
        self._removed.clear()
        return pack_blocks(self._cached)

    def changes(self) -> tuple[str, str]:
        """Packed blocks added and removed since the last call."""
        added, removed = pack_blocks(sorted(self._added)), pack_blocks(sorted(self._removed))
        self._added.clear()
        self._removed.clear()
        return added, removed


def _moved(mean: float, observed: float) -> float:
    return observed if not mean else mean + WEIGHT * (observed - mean)
