"""What a worker measures of its engine's steps, to announce it: means over about the last second."""

from __future__ import annotations

import math

from benchmarks.routing.hardware import Hardware


class Measured:
    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        self._at = 0.0
        self._prefill_tokens, self._prefill_seconds = 0.0, 0.0
        self._base_seconds, self._base_steps = 0.0, 0.0
        self._share = 0.0

    def steps(self, count: int, seconds: float, in_prefill: float, tokens: int, now: float) -> None:
        """So many steps end now. They took `seconds`, of which `in_prefill` for so many prompt tokens."""
        keep = math.exp(-(now - self._at))
        self._at = now
        self._base_seconds = self._base_seconds * keep + seconds - in_prefill
        self._base_steps = self._base_steps * keep + count
        self._share = self._share * keep + (1 - math.exp(-seconds)) * in_prefill / seconds
        if tokens:
            keep = math.exp(-seconds)
            self._prefill_tokens = self._prefill_tokens * keep + tokens
            self._prefill_seconds = self._prefill_seconds * keep + seconds

    @property
    def rate(self) -> float:
        """Prompt tokens a second of steps that prefill."""
        if self._prefill_seconds < 1e-6:
            return 1 / (self._hardware.prefill * self._hardware.slowness) * 0.7
        return self._prefill_tokens / self._prefill_seconds

    @property
    def base(self) -> float:
        """Mean seconds of a step without its prefill part."""
        if self._base_steps < 1e-9:
            return self._hardware.overhead * self._hardware.slowness
        return self._base_seconds / self._base_steps

    def share_at(self, now: float) -> float:
        """Share of the last second's time that went into prefill; idle time counts."""
        return min(1.0, self._share * math.exp(-max(0.0, now - self._at)))
