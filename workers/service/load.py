"""What a worker has to do, measured from outside its engine: the numbers that routers place prompts by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from workers.engines.protocol import EngineLoad, TokenChunk
from workers.routing import BlockHasher, pack_blocks
from workers.routing.blocks import BLOCK_BYTES
from workers.service.pace import Pace
from workers.service.prefixes import Prefixes

WEIGHT: Final = 0.05
"""Of one observation in the moving means; some twenty prompts are remembered."""


@dataclass(slots=True)
class _Prompt:
    text: str
    stage: str
    tokens: float
    uncached: float
    blocks: tuple[int, ...]
    weight: float
    is_begun: bool = False
    """The engine has it."""
    ids: list[int] = field(default_factory=list)
    """Of prompt and output, where the engine says them."""
    output: int = 0
    last: float = 0.0
    """When its last tokens came."""
    written: str = ""


class Load:
    """Accounts prompts from lane to last token. No clock: seconds since 1970 are passed in."""

    def __init__(self, prefixes: Prefixes) -> None:
        self.hasher: Final = BlockHasher()
        self.prefixes: Final = prefixes
        self.pace: Final = Pace()
        self.tokens_per_byte = 0.25
        self.outputs: Final[dict[str, float]] = {}
        self.prompted = self.cached = 0.0
        """Tokens of prompts with a first token, and how many of them were cached."""
        self.version = 0
        """Changes whenever anything here does."""
        self.engine = EngineLoad(running=0, waiting=0)
        """What the engine said last."""
        self._prompts: Final[dict[object, _Prompt]] = {}
        self._running = 0

    def taken(self, key: object, text: str, stage: str, weight: float) -> None:
        """The prompt waits in this worker."""
        blocks = self.hasher.text(text, stage=stage)
        held = 0
        for block in blocks:
            if block not in self.prefixes:
                break
            held += 1
        size = len(text.encode())
        uncached = max(1.0, (size - held * BLOCK_BYTES) * self.tokens_per_byte)
        self._prompts[key] = _Prompt(text, stage, max(1.0, size * self.tokens_per_byte), uncached, blocks, weight)
        self.version += 1

    def begun(self, key: object, now: float) -> None:
        """The engine has it now."""
        prompt = self._prompts.get(key)
        if prompt is not None:
            prompt.is_begun = True
            self.pace.begun(now)

    def tokens(self, key: object, chunk: TokenChunk, now: float) -> None:
        """The engine gave these."""
        prompt = self._prompts.get(key)
        if prompt is None:
            return
        if not prompt.output:
            self._first(prompt, chunk, now)
        else:
            self.pace.next_tokens(chunk.tokens, now - prompt.last, self._running, now)
        prompt.output += chunk.tokens
        prompt.last = now
        prompt.written += chunk.text
        if prompt.ids:
            prompt.ids.extend(chunk.token_ids)
        self.version += 1

    def _first(self, prompt: _Prompt, chunk: TokenChunk, now: float) -> None:
        self._running += 1
        size = len(prompt.text.encode())
        if chunk.prompt_ids:
            prompt.ids = list(chunk.prompt_ids)
            prompt.tokens = float(len(chunk.prompt_ids))
            self.tokens_per_byte = _moved(self.tokens_per_byte, min(4.0, prompt.tokens / max(size, 1)))
        if chunk.cached_tokens is not None:
            prompt.uncached = max(1.0, prompt.tokens - chunk.cached_tokens)
        self.prompted += prompt.tokens
        self.cached += chunk.cached_tokens or 0
        self.pace.first_token(prompt.uncached, now)
        self.prefixes.computed(prompt.blocks, size, prompt.ids)

    def finished(self, key: object, now: float) -> None:
        """It is done, refused, or taken away."""
        prompt = self._prompts.pop(key, None)
        if prompt is None:
            return
        if prompt.is_begun:
            self.pace.ended(now, has_token=prompt.output > 0)
        if prompt.output:
            self._running -= 1
            self.outputs[prompt.stage] = _moved(self.outputs.get(prompt.stage, 0.0), float(prompt.output))
            # The next turn of a conversation begins with this one's text.
            whole = prompt.text + prompt.written
            self.prefixes.computed(self.hasher.text(whole, stage=prompt.stage), len(whole.encode()), prompt.ids)
        self.version += 1

    def reported(self, load: EngineLoad) -> None:
        """The engine said this of itself."""
        if load != self.engine:
            self.engine = load
            self.version += 1

    # -- what is announced -----------------------------------------------------------------------------------------

    @property
    def pending(self) -> float:
        """Prompt tokens accepted, not cached and not computed yet."""
        return sum(p.uncached for p in self._prompts.values() if not p.output)

    @property
    def weight(self) -> float:
        """Σκ of the prompts that wait or decode here."""
        return sum(p.weight for p in self._prompts.values())

    @property
    def context(self) -> float:
        """Tokens of the prompts that decode here, output included."""
        return sum(p.tokens + p.output for p in self._prompts.values() if p.output)

    @property
    def running(self) -> int:
        """With their first token."""
        return self._running

    @property
    def waiting(self) -> int:
        return len(self._prompts) - self._running

    def all_blocks(self) -> str:
        """Packed; changes count from now."""
        self.prefixes.changes.clear()
        return pack_blocks(self.prefixes)

    def changes(self) -> tuple[str, str]:
        """Packed blocks added and removed since the last call."""
        changes = self.prefixes.changes
        added, removed = pack_blocks(sorted(changes.added)), pack_blocks(sorted(changes.removed))
        changes.clear()
        return added, removed


def _moved(mean: float, observed: float) -> float:
    return observed if not mean else mean + WEIGHT * (observed - mean)
