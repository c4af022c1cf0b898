"""An engine without a model: times of real continuous batching, words without meaning. The default of nothing."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Protocol

from workers.engines.protocol import EngineLoad, Generation, TokenChunk
from workers.engines.simulation import ContinuousBatch, Costs, Job
from workers.engines.words import StopFilter, Words, tokens_of
from workers.errors import EngineDeadError, PromptError
from workers.settings import SimulatedSettings

_LOGPROBS_MAX: Final = 20
# Each alternative takes 60 % of the probability that those before it left.
_LOG: Final = tuple(math.log(0.6 * 0.4**rank) for rank in range(_LOGPROBS_MAX))

RUN_SALT: Final = secrets.token_hex(8)
"""Of this process: with `salt="run"` a prompt that is served again by another process gets another text."""


class Clock(Protocol):
    """Simulated time, in seconds."""

    def now(self) -> float: ...
    async def sleep_until(self, when: float) -> None: ...


class RealClock:
    """Simulated seconds pass `speed` times as fast as real ones."""

    def __init__(self, speed: float) -> None:
        self._speed = speed

    def now(self) -> float:
        return asyncio.get_running_loop().time() * self._speed

    async def sleep_until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, (when - self.now()) / self._speed))


class SimulatedEngine:
    """Any number of generations, stepped together; see workers.engines.simulation for what a step costs."""

    can_resume = True

    def __init__(self, settings: SimulatedSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._salt = RUN_SALT if settings.salt == "run" else settings.salt
        self.model = settings.model
        self.max_context = min(settings.context, settings.kv_tokens)
        self.max_parallel = settings.parallel
        self._clock = clock or RealClock(settings.speed)
        self._batch = ContinuousBatch(
            Costs(
                step_seconds=settings.step_seconds,
                prefill_token_seconds=settings.prefill_token_seconds,
                decode_seconds=settings.decode_seconds,
                context_token_seconds=settings.context_token_seconds,
                prefill_tokens_max=settings.step_prefill_tokens,
                sequences_max=settings.parallel,
                block_tokens=settings.block_tokens,
                kv_blocks=settings.kv_tokens // settings.block_tokens,
            )
        )
        self._arrivals = count()
        self._texts: dict[str, _Text] = {}
        self._work = asyncio.Event()
        self._stepping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to step."""
        if self._stepping is None:
            self._stepping = asyncio.create_task(self._step_for_ever(), name=f"{self.model} steps")

    async def _step_for_ever(self) -> None:
        try:
            await self._step_while_alive()
        finally:
            for text in self._texts.values():
                text.chunks.put_nowait(None)

    async def _step_while_alive(self) -> None:
        due = self._clock.now()
        while True:
            step = self._batch.step()
            if step is None:
                self._work.clear()
                await self._work.wait()
                due = self._clock.now()
                continue
            due += step.seconds  # not from now on: being woken late must not add up
            await self._clock.sleep_until(due)
            for job in step.decoded:
                text = self._texts.get(job.id)
                if text is None:  # closed while the step ran
                    continue
                token, is_last = text.next(job.cached)
                if is_last:
                    self._batch.remove(job.id)
                else:
                    self._batch.write(job, token)

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        """Ids of word-like pieces."""
        return tokens_of(prompt)

    async def generate(self, generation: Generation) -> AsyncGenerator[TokenChunk, None]:
        """As the protocol has it; one token a chunk."""
        sampling, done = generation.sampling, len(generation.resume)
        tokens = [*tokens_of(generation.prompt), *generation.resume]
        self._refuse(generation, len(tokens))
        if done >= sampling.max_tokens:
            yield TokenChunk(position=done, text="", token_ids=(), tokens=0, finish="length")
            return
        text = _Text(
            words=Words(generation.prompt, f"{self._salt}|{_seed(generation)}"),
            stop=StopFilter(sampling.stop),
            logprobs=min(sampling.logprobs, _LOGPROBS_MAX),
            start=done,
            position=done,
            end=min(sampling.max_tokens, done + self.max_context - len(tokens)),
            end_probability=self._settings.end_probability,
        )
        self._batch.add(Job(generation.id, (generation.priority, next(self._arrivals)), tokens))
        self._texts[generation.id] = text
        self._work.set()
        try:
            while True:
                chunk = await text.chunks.get()
                if chunk is None:
                    raise EngineDeadError("the simulated engine was closed in the middle of a generation.")
                yield chunk
                if chunk.finish is not None:
                    return
        finally:
            self._forget(generation.id)

    def _refuse(self, generation: Generation, tokens: int) -> None:
        if self._stepping is None or self._stepping.done():
            raise EngineDeadError("the simulated engine is not started, or closed already.")
        if generation.sampling.max_tokens < 1:
            raise PromptError(f"max_tokens is {generation.sampling.max_tokens}; at least 1 is needed.")
        if tokens >= self.max_context:
            raise PromptError(
                f"prompt and text so far have {tokens} tokens, this model's context {self.max_context}; "
                "shorten the prompt or give the worker a larger `context`.",
                code="model.prompt_too_long",
            )

    def _forget(self, generation_id: str) -> None:
        self._batch.remove(generation_id)
        self._texts.pop(generation_id, None)

    async def load(self) -> EngineLoad:
        """The batch as it is; blocks are those of the simulated KV cache, idle prefixes counting as free."""
        return EngineLoad(
            running=self._batch.running,
            waiting=self._batch.waiting,
            kv_blocks_total=self._batch.cache.total,
            kv_blocks_free=self._batch.cache.free,
        )

    async def close(self) -> None:
        """Stop; what still generates ends with `EngineDeadError`."""
        stepping, self._stepping = self._stepping, None
        if stepping is None:
            return
        stepping.cancel()
        with suppress(asyncio.CancelledError):
            await stepping


@dataclass(slots=True)
class _Text:
    """One text as it is written; `chunks` ends with a chunk that has a `finish`, or with None when the engine died."""

    words: Words
    stop: StopFilter
    logprobs: int
    start: int
    position: int
    end: int
    end_probability: float
    chunks: asyncio.Queue[TokenChunk | None] = field(default_factory=asyncio.Queue)

    def next(self, cached: int | None) -> tuple[int, bool]:
        """Write one word; returns its token, and whether it is the last one."""
        position = self.position
        word = self.words.word(position)
        (token,) = tokens_of(word)
        shown = self.stop.push(word)
        finish: str | None = None
        if self.stop.stopped or self.words.ends_after(position, self.end_probability):
            finish = "stop"
        elif position + 1 >= self.end:
            finish = "length"
        self.chunks.put_nowait(
            TokenChunk(
                position=position,
                text=shown if finish is None else shown + self.stop.flush(),
                token_ids=(token,),
                tokens=1,
                logprobs=(self.words.logprobs(position, self.logprobs, _LOG),) if self.logprobs else (),
                finish=finish,
                cached_tokens=cached if position == self.start else None,
            )
        )
        self.position += 1
        return token, finish is not None


def _seed(generation: Generation) -> str:
    """Sampling without a seed writes something else each time; at temperature 0, as with a seed, it does not."""
    sampling = generation.sampling
    if sampling.temperature == 0:
        return "greedy"
    return secrets.token_hex(8) if sampling.seed is None else str(sampling.seed)


def create(settings: Mapping[str, object]) -> SimulatedEngine:
    """The entry point: an engine that is not started yet."""
    return SimulatedEngine(SimulatedSettings(**settings))  # type: ignore[arg-type]
