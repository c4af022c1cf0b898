"""Between vLLM's types and ours: engine and sampling arguments, request outputs, statistics. Imports no vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from workers.engines.protocol import EngineLoad, Sampling, TokenChunk
from workers.settings import VllmSettings

# On a CPU vLLM takes blocks of 32 only, and would otherwise reserve most of the memory and compile for minutes.
_ON_CPU: Final[Mapping[str, Any]] = {
    "block_size": 32,
    "enforce_eager": True,
    "kv_cache_memory_bytes": 512 * 1024 * 1024,
}


def engine_arguments(settings: VllmSettings, path: str, *, on_cpu: bool) -> dict[str, Any]:
    """For `AsyncEngineArgs`: what the settings say, with `engine_args` over all of it."""
    arguments: dict[str, Any] = {
        "model": path,
        "served_model_name": settings.model,
        "dtype": settings.dtype,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "max_num_seqs": settings.parallel,
        "enable_prefix_caching": True,
        "scheduling_policy": "priority",
        "enable_log_requests": False,  # they hold prompts
    }
    if settings.context is not None:
        arguments["max_model_len"] = settings.context
    return {**arguments, **(_ON_CPU if on_cpu else {}), **settings.engine_args}


def sampling_arguments(sampling: Sampling, max_tokens: int) -> dict[str, Any]:
    """For `SamplingParams`; each output then holds what is new since the one before."""
    from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

    return {
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(sampling.stop),
        "seed": sampling.seed,
        "logprobs": sampling.logprobs or None,
        "output_kind": RequestOutputKind.DELTA,
    }


def chunk_of(output: Any, position: int, *, is_first: bool, is_resumed: bool = False) -> TokenChunk:
    """What a `RequestOutput` brings."""
    (new,) = output.outputs
    ids = tuple(new.token_ids)
    reason = new.finish_reason
    return TokenChunk(
        position=position,
        text=new.text,
        token_ids=ids,
        tokens=len(ids),
        logprobs=tuple(_ranked(alternatives) for alternatives in new.logprobs or ()),
        finish=None if reason is None else "length" if reason == "length" else "stop",
        cached_tokens=output.num_cached_tokens if is_first else None,
        prompt_ids=tuple(output.prompt_token_ids or ()) if is_first and not is_resumed else (),
    )


def _ranked(alternatives: Mapping[int, Any]) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for entry in sorted(alternatives.values(), key=lambda entry: -entry.logprob):
        found.setdefault(str(entry.decoded_token), float(entry.logprob))
    return found


class LatestStats:
    """Keeps what vLLM's scheduler said last; vLLM makes and calls the logger."""

    def __init__(self) -> None:
        self._waiting = 0
        self._kv_usage = 0.0
        self._queried_tokens = 0
        self._hit_tokens = 0
        self._preemptions = 0

    def logger(self, vllm_config: object, engine_index: int = 0) -> Any:
        """A stat logger as vLLM wants it (`StatLoggerFactory`)."""
        from vllm.v1.metrics.loggers import StatLoggerBase  # noqa: PLC0415

        latest = self

        class Logger(StatLoggerBase):  # type: ignore[misc]
            def __init__(self, vllm_config: object, engine_index: int = 0) -> None:
                pass

            def record(
                self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
            ) -> None:
                latest.record(scheduler_stats, iteration_stats)

            def log_engine_initialized(self) -> None:
                pass

        return Logger(vllm_config, engine_index)

    def record(self, scheduler: Any, iteration: Any) -> None:
        """After each step."""
        if scheduler is not None:
            self._waiting = int(scheduler.num_waiting_reqs)
            self._kv_usage = float(scheduler.kv_cache_usage)
            self._queried_tokens += int(scheduler.prefix_cache_stats.queries)
            self._hit_tokens += int(scheduler.prefix_cache_stats.hits)
        if iteration is not None:
            self._preemptions += int(iteration.num_preempted_reqs)

    def load(self, mine: int, kv_blocks: int) -> EngineLoad:
        """Of `mine` unfinished generations; the scheduler's own count is one step behind what was aborted."""
        waiting = min(self._waiting, mine)
        return EngineLoad(
            running=mine - waiting,
            waiting=waiting,
            kv_blocks_total=kv_blocks,
            kv_blocks_free=round(kv_blocks * (1 - self._kv_usage)) if mine else kv_blocks,
            extra={
                "prompt_tokens": float(self._queried_tokens),
                "cached_tokens": float(self._hit_tokens),
                "preemptions": float(self._preemptions),
            },
        )
