"""What an engine is to the worker service: a stream of token chunks that can be closed early."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable


@dataclass(frozen=True, slots=True)
class Sampling:
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int = 0
    """How many alternatives to report per token; 0: none."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One prompt for an engine."""

    id: str
    """Unique in this engine process."""
    prompt: str
    sampling: Sampling
    priority: float = 0.0
    """Epoch seconds, of the *request*: the lowest goes first where the engine has priorities."""
    resume: tuple[int, ...] = ()
    """Token ids already generated, to be continued; only where `can_resume`. `sampling.max_tokens` still counts from
    the start of the text."""


@dataclass(frozen=True, slots=True)
class TokenChunk:
    position: int
    """Index of its first token in the generated text."""
    text: str
    token_ids: tuple[int, ...]
    """May be empty only for engines that report no ids; then `tokens` says how many."""
    tokens: int
    logprobs: tuple[Mapping[str, float], ...] = ()
    """Per token: text of each reported alternative -> natural log-probability, most likely first."""
    finish: str | None = None
    """`stop` or `length` on the last chunk (which may have no tokens), else None."""
    cached_tokens: int | None = None
    """On the first chunk, where the engine says so: prompt tokens found in the prefix cache."""
    prompt_ids: tuple[int, ...] = ()
    """On the first chunk of a text that is not resumed, where the engine says so: the prompt's token ids."""


@dataclass(frozen=True, slots=True)
class EngineLoad:
    running: int
    waiting: int
    kv_blocks_total: int = 0
    kv_blocks_free: int = 0
    """Held by no running prompt, whether cached or not."""
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BlocksStored:
    """KV blocks of one prefix, in order, that the engine's cache now holds."""

    blocks: tuple[Hashable, ...]
    """The engine's own names for them."""
    parent: Hashable | None
    """The block before the first; None: they begin the prompt."""
    token_ids: tuple[int, ...]
    block_tokens: int


@dataclass(frozen=True, slots=True)
class BlocksRemoved:
    """KV blocks that were given up."""

    blocks: tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class CacheCleared:
    """Nothing is known to be cached any more."""


CacheEvent: TypeAlias = BlocksStored | BlocksRemoved | CacheCleared


@runtime_checkable
class Engine(Protocol):
    """A model in this process, or a server that this process talks to.

    `start` returns when the first prompt can be served. `generate` yields chunks with contiguous positions; closing
    the generator aborts the generation and frees what it held. Raises `PromptError` (the user's fault: too long,
    unknown parameter), `EngineDeadError` (infrastructure: the worker restarts or hands its lanes over).
    """

    @property
    def model(self) -> str:
        """The served name: prompts arrive on `models.<model>.prompts`."""

    @property
    def can_resume(self) -> bool:
        """Whether it can go on from token ids that were generated elsewhere."""

    @property
    def max_context(self) -> int:
        """Prompt and output tokens together."""

    @property
    def max_parallel(self) -> int:
        """Generations that are worth giving to it at once."""

    async def start(self) -> None: ...
    def generate(self, generation: Generation) -> AsyncGenerator[TokenChunk, None]: ...
    async def tokenize(self, prompt: str) -> tuple[int, ...]: ...
    async def load(self) -> EngineLoad: ...
    async def close(self) -> None: ...


@runtime_checkable
class ReportsCache(Protocol):
    """An engine that says what its prefix cache holds; of all others the worker assumes it."""

    @property
    def reports_cache(self) -> bool:
        """False where it is set up not to."""
        ...

    def on_cache(self, listener: Callable[[CacheEvent], None]) -> None:
        """Call the listener, on the event loop, for every event from now on; before `start`."""
