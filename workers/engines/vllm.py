"""vLLM inside the worker: `AsyncLLM`, whose engine core is a child process that this one watches.

vLLM is imported when the engine starts, since that takes seconds; its switches that are read at import are set before.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from streams.errors import ConfigError
from workers.engines.default_model import MODEL_NOTICE, default_hf_folder
from workers.engines.protocol import CacheEvent, EngineLoad, Generation, TokenChunk
from workers.engines.vllm_events import CacheEvents
from workers.engines.vllm_wire import LatestStats, chunk_of, engine_arguments, sampling_arguments
from workers.errors import EngineDeadError, PromptError
from workers.settings import VllmSettings

# Whoever runs a worker did not ask for reports to others, and its log is on standard error as ours is; a set variable
# still wins.
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
}

_PRIORITY_PER_SECOND: Final = 1000  # vLLM's priorities are whole numbers: milliseconds tell requests apart


class VllmEngine:
    """A model on vLLM: continuous batching, prefix cache, earliest request first."""

    can_resume = True

    def __init__(self, settings: VllmSettings) -> None:
        self._settings = settings
        self.model = settings.model
        self.notice = MODEL_NOTICE if settings.path is None else ""
        self.max_context = settings.context or 0
        self.max_parallel = settings.parallel
        self._llm: Any = None
        self._stats = LatestStats()
        # One engine core, unless the user asks for several, each with events of its own, or has other plans with them.
        is_ours = not {"kv_events_config", "data_parallel_size"} & settings.engine_args.keys()
        self._cache_events = CacheEvents() if is_ours else None
        self._running = 0

    async def start(self) -> None:
        """Import vLLM, load the model, start the engine core. Raises `ConfigError` when vLLM refuses the arguments."""
        if self._llm is not None:
            return
        path = self._settings.path or str(await asyncio.to_thread(default_hf_folder))
        if Path(path).is_dir():  # noqa: ASYNC240 (once, at start)
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        await asyncio.to_thread(__import__, "vllm.v1.engine.async_llm")
        from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415
        from vllm.platforms import current_platform  # noqa: PLC0415
        from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415

        arguments = engine_arguments(self._settings, path, on_cpu=current_platform.is_cpu())
        if self._cache_events is not None:
            arguments["kv_events_config"] = self._cache_events.config()
        try:
            self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=[self._stats.logger])
        except (TypeError, ValueError) as refused:
            raise ConfigError(f"vLLM refuses its arguments: {refused}", code="config.engine") from refused
        self.max_context = int(self._llm.model_config.max_model_len)
        if self._cache_events is not None:
            await self._cache_events.start()

    @property
    def reports_cache(self) -> bool:
        """Whether `on_cache` will ever be called."""
        return self._cache_events is not None

    def on_cache(self, listener: Callable[[CacheEvent], None]) -> None:
        """As `ReportsCache` has it."""
        if self._cache_events is not None:
            self._cache_events.listen(listener)

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        """The model's token ids, with those that it wants before every text."""
        encode = self._alive().get_tokenizer().encode
        return tuple(await asyncio.to_thread(encode, prompt))

    async def generate(self, generation: Generation) -> AsyncGenerator[TokenChunk, None]:
        """As the protocol has it; a chunk is what one or more engine steps gave."""
        from vllm import SamplingParams  # noqa: PLC0415

        sampling, position = generation.sampling, len(generation.resume)
        if sampling.max_tokens < 1:
            raise PromptError(f"max_tokens is {sampling.max_tokens}; at least 1 is needed.")
        if position >= sampling.max_tokens:
            yield TokenChunk(position=position, text="", token_ids=(), tokens=0, finish="length")
            return
        ids = (*await self.tokenize(generation.prompt), *generation.resume)
        if len(ids) >= self.max_context:
            raise PromptError(
                f"prompt and text so far have {len(ids)} tokens, this model's context {self.max_context}; "
                "shorten the prompt or give the worker a larger `context`.",
                code="model.prompt_too_long",
            )
        try:
            parameters = SamplingParams(**sampling_arguments(sampling, sampling.max_tokens - position))
        except ValueError as refused:
            raise PromptError("vLLM refuses the sampling parameters; see its log.") from refused
        self._running += 1
        start = position
        try:
            async with aclosing(self._outputs(generation, ids, parameters)) as outputs:
                async for output in outputs:
                    chunk = chunk_of(output, position, is_first=position == start, is_resumed=start > 0)
                    position += chunk.tokens
                    yield chunk
        finally:
            self._running -= 1

    async def _outputs(
        self, generation: Generation, ids: tuple[int, ...], parameters: object
    ) -> AsyncGenerator[Any, None]:
        from vllm.v1.engine.exceptions import EngineDeadError as CoreDead  # noqa: PLC0415
        from vllm.v1.engine.exceptions import EngineGenerateError  # noqa: PLC0415

        prompt = {"prompt_token_ids": list(ids)}
        priority = int(generation.priority * _PRIORITY_PER_SECOND)
        try:
            stream = self._alive().generate(prompt, parameters, generation.id, priority=priority)
            async with aclosing(stream) as outputs:  # closing it aborts the request in the engine core
                async for output in outputs:
                    yield output
        except (CoreDead, EngineGenerateError) as dead:
            raise EngineDeadError("vLLM's engine core died; its log says why.") from dead
        except ValueError as refused:
            raise PromptError("vLLM refuses the prompt or its sampling parameters; see its log.") from refused

    async def load(self) -> EngineLoad:
        """The scheduler's latest figures. Raises `EngineDeadError` as soon as the engine core is gone."""
        config = self._alive().vllm_config.cache_config
        return self._stats.load(self._running, int(config.num_gpu_blocks or 0))

    async def close(self) -> None:
        """End the engine core; what still generates ends with `EngineDeadError`."""
        llm, self._llm = self._llm, None
        if self._cache_events is not None:
            await self._cache_events.close()
        if llm is not None:
            await asyncio.to_thread(llm.shutdown)

    def _alive(self) -> Any:
        if self._llm is None:
            raise EngineDeadError("the vLLM engine is not started, or closed already.")
        if self._llm.errored:
            raise EngineDeadError("vLLM's engine core died; its log says why.")
        return self._llm


def create(settings: Mapping[str, object]) -> VllmEngine:
    """The entry point: an engine that is not started yet; vLLM is only looked for."""
    if find_spec("vllm") is None:
        raise ModuleNotFoundError("No module named 'vllm'", name="vllm")
    return VllmEngine(VllmSettings(**settings))  # type: ignore[arg-type]
