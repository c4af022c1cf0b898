"""Continuous batching with chunked prefill and a prefix cache, as arithmetic: no clock, no I/O, no text.

The step time is linear in what the step does; the constants and the fit are in the settings of the simulated engine.
Scheduling follows vLLM's: decodes first, then prompts by priority within a budget of tokens, and when the KV cache is
full the latest generation is put back and computed again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of a step, in parts, and what bounds it."""

    step_seconds: float
    prefill_token_seconds: float
    decode_seconds: float
    context_token_seconds: float
    prefill_tokens_max: int
    sequences_max: int
    block_tokens: int
    kv_blocks: int


@dataclass(slots=True, eq=False)
class Job:
    """One generation. `tokens` are those of the prompt, and grow by what it writes."""

    id: str
    order: tuple[float, int]
    """Priority, then arrival: the lowest goes first and is put back last."""
    tokens: list[int]
    computed: int = 0
    cached: int | None = None
    """Prompt tokens found in the prefix cache when it was first scheduled."""
    named: list[int] = field(default_factory=list)
    """Hashes of its full blocks, each holding all tokens before it too."""
    unnamed: int = 0
    """Blocks that it holds beyond those."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step does: how long it takes and which jobs get a token at its end."""

    seconds: float
    decoded: tuple[Job, ...]
    prefilled: int


def chained(tokens: Sequence[int], size: int, named: Sequence[int], upto: int) -> list[int]:
    """Hashes of the full blocks among the first `upto` tokens that come after those named already.

    Each covers everything before it too: two are equal only where both texts are equal from the first token on.
    """
    chain, out = named[-1] if named else 0, []
    for end in range((len(named) + 1) * size, upto + 1, size):
        chain = hash((chain, *tokens[end - size : end]))
        out.append(chain)
    return out


class BlockCache:
    """KV blocks. Held ones are pinned; of the others the least recently used is given up first."""

    def __init__(self, blocks: int) -> None:
        self.total = blocks
        self._empty = blocks
        self._pins: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def free(self) -> int:
        """Blocks that a new sequence could have."""
        return self._empty + len(self._idle)

    def pin_known(self, hashes: Iterable[int]) -> list[int]:
        """Hold the longest run of blocks that are here, from the first on; returns their hashes."""
        held: list[int] = []
        for block in hashes:
            if block not in self._pins and block not in self._idle:
                break
            self._idle.pop(block, None)
            self._pins[block] = self._pins.get(block, 0) + 1
            held.append(block)
        return held

    def take(self) -> bool:
        """Hold one block without content; False when all are held."""
        if self._empty:
            self._empty -= 1
        elif self._idle:
            self._idle.popitem(last=False)
        else:
            return False
        return True

    def name(self, block: int) -> None:
        """A block taken before is full, and can be found by its hash from now on."""
        if block in self._pins or block in self._idle:
            self._empty += 1
            self.pin_known((block,))
        else:
            self._pins[block] = 1

    def release(self, named: Sequence[int], unnamed: int) -> None:
        """Let go; the end of a sequence is given up before its beginning, which others may share."""
        self._empty += unnamed
        for block in reversed(named):
            self._pins[block] -= 1
            if not self._pins[block]:
                del self._pins[block]
                self._idle[block] = None


class ContinuousBatch:
    """All generations of one engine; `step` says what the next step does, and does it."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._jobs: dict[str, Job] = {}
        self._running: list[Job] = []
        self._waiting: list[Job] = []
        self.cache = BlockCache(costs.kv_blocks)

    @property
    def running(self) -> int:
        """Jobs that hold KV blocks."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Jobs that hold nothing yet, or nothing any more."""
        return len(self._waiting)

    def add(self, job: Job) -> None:
        """Queue a job; its id must be new."""
        if job.id in self._jobs:
            raise ValueError(f"a job {job.id!r} is there already")
        self._jobs[job.id] = job
        self._waiting.append(job)

    def remove(self, job_id: str) -> None:
        """Forget a job, finished or not, and free what it held; an unknown id is none of ours."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return
        if job in self._running:
            self._running.remove(job)
            self._release(job)
        else:
            self._waiting.remove(job)

    def write(self, job: Job, token: int) -> None:
        """The token that the last step gave this job; its KV entry is computed in the next one."""
        job.tokens.append(token)

    def step(self) -> Step | None:
        """One step; None when there is nothing to do."""
        decoding = sorted((job for job in self._running if self._left(job) == 1), key=lambda job: job.order)
        decoded: list[Job] = []
        context = 0
        for job in decoding:
            if job not in self._running or not self._grow(job, 1):  # put back for one before it, or for itself
                continue
            decoded.append(job)
            context += job.computed
        decodes, budget = len(decoded), self._costs.prefill_tokens_max
        for job in sorted((job for job in self._running if self._left(job) > 1), key=lambda job: job.order):
            budget -= self._prefill(job, budget, decoded)
        for job in sorted(self._waiting, key=lambda job: job.order):
            if budget <= 0 or len(self._running) >= self._costs.sequences_max:
                break
            if not self._start(job):
                break  # nobody overtakes: the earliest request would starve
            budget -= self._prefill(job, budget, decoded)
        prefilled = self._costs.prefill_tokens_max - budget
        if not decoded and not prefilled:
            return None
        return Step(
            seconds=self._costs.step_seconds
            + self._costs.prefill_token_seconds * prefilled
            + self._costs.decode_seconds * decodes
            + self._costs.context_token_seconds * context,
            decoded=tuple(decoded),
            prefilled=prefilled,
        )

    def _left(self, job: Job) -> int:
        return len(job.tokens) - job.computed

    def _start(self, job: Job) -> bool:
        # The last token is always computed: the first output comes from it.
        known = self.cache.pin_known(chained(job.tokens, self._costs.block_tokens, (), len(job.tokens) - 1))
        needed = -(-len(job.tokens) // self._costs.block_tokens) - len(known)
        if needed > self.cache.free:
            self.cache.release(known, 0)
            return False
        job.named, job.unnamed, job.computed = known, 0, len(known) * self._costs.block_tokens
        if job.cached is None:
            job.cached = job.computed
        self._waiting.remove(job)
        self._running.append(job)
        return True

    def _prefill(self, job: Job, budget: int, decoded: list[Job]) -> int:
        chunk = min(budget, self._left(job))
        if chunk <= 0 or job not in self._running or not self._grow(job, chunk):
            return 0
        if not self._left(job):
            decoded.append(job)
        return chunk

    def _grow(self, job: Job, tokens: int) -> bool:
        """Compute so many tokens of a job; False when it had to be put back for want of room."""
        size = self._costs.block_tokens
        needed = -(-(job.computed + tokens) // size)
        while len(job.named) + job.unnamed < needed:
            if self.cache.take():
                job.unnamed += 1
                continue
            last = max(self._running, key=lambda other: other.order)
            self._put_back(last)
            if last is job:
                return False
        job.computed += tokens
        for block in chained(job.tokens, size, job.named, job.computed):
            self.cache.name(block)
            job.unnamed -= 1
            job.named.append(block)
        return True

    def _put_back(self, job: Job) -> None:
        self._running.remove(job)
        self._release(job)
        self._waiting.append(job)

    def _release(self, job: Job) -> None:
        self.cache.release(job.named, job.unnamed)
        job.named, job.unnamed, job.computed = [], 0, 0
