"""What a step of an engine costs, and how much its cache holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hardware:
    """Constants of one engine; the defaults are plausible for an H100 with an 8B model, and not measured."""

    overhead: float = 7e-3
    """Seconds of every step."""
    prefill: float = 35e-6
    """Seconds a prefill token."""
    decode: float = 30e-6
    """Seconds a decoding sequence."""
    context: float = 55e-9
    """Seconds a KV token of the decoding sequences."""
    attention: float = 0.0
    """Seconds a prefill token and token before it: on small models attention is much of a long prefill."""
    kv_tokens: int = 400_000
    block: int = 32
    step_tokens: int = 2_048
    """Most tokens of one step, prefill chunks and decodes together (vLLM `max_num_batched_tokens`)."""
    sequences: int = 256
    """Most running at once (vLLM `max_num_seqs`)."""
    slowness: float = 1.0
