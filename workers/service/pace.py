"""How fast an engine computes, seen from outside: when its tokens come, and how many prompts run then."""

from __future__ import annotations

import math
from typing import Final

PROMPTS_REMEMBERED: Final = 20
"""The prefill rate is that of so many prompts: it depends on how long they are and what runs beside them."""
DECODE_SECONDS: Final = 30.0
"""Steps older than this count a third. In less, the number of running prompts varies too little to see its effect."""
SECONDS_PER_TOKEN_MIN: Final = 1e-7
"""No engine computes a prompt faster. Prompts that a step computes together have their first tokens at one instant, so
that a young worker would announce a rate without bound."""
PREFILL_SECONDS: Final = 1.0
"""The share of time in prefill is that of the last second: a burst of prompts is over soon."""
# Added to the variance of the number of running prompts: until that has varied, an effect of it is not believed.
_VARIANCE_AT_FIRST: Final = 0.1


class Pace:
    """Prefill rate, time of a step and what one more prompt adds to it. No clock: seconds are passed in."""

    def __init__(self) -> None:
        self._prefilling = 0
        self._since = 0.0
        """From when the present prefill is counted: its begin, or the end of the one before it."""
        self._tokens = self._seconds = 0.0
        self._weight = self._n = self._t = self._nn = self._nt = 0.0
        """Sums over tokens: 1, running prompts, seconds since the token before, and their products."""
        self._stepped = 0.0
        self._share = 0.0
        self._shared = 0.0

    # -- what happened ---------------------------------------------------------------------------------------------

    def begun(self, now: float) -> None:
        """The engine was given a prompt."""
        if not self._prefilling:
            self._since = now
        self._prefilling += 1

    def first_token(self, uncached: float, now: float) -> None:
        """A prompt, of which so many tokens had to be computed, has its first token."""
        took = max(now - self._since, 0.0)
        keep = 1 - 1 / PROMPTS_REMEMBERED
        self._tokens, self._seconds = self._tokens * keep + uncached, self._seconds * keep + took
        self._share = self.share(now) + took / PREFILL_SECONDS
        self._shared = now
        self._prefill_over(now)

    def ended(self, now: float, *, has_token: bool) -> None:
        """The engine is done with a prompt."""
        if not has_token:
            self._prefill_over(now)

    def _prefill_over(self, now: float) -> None:
        self._prefilling -= 1
        self._since = now

    def next_tokens(self, count: int, seconds: float, running: int, now: float) -> None:
        """A running prompt has so many tokens more, so long after those before; `running` includes it.

        Steps in which somebody's prompt was computed are left out: they are longer by that.
        """
        if self._prefilling or now - seconds < self._since:
            return
        keep, self._stepped = math.exp((self._stepped - now) / DECODE_SECONDS), now
        step = seconds / count
        self._weight = self._weight * keep + count
        self._n = self._n * keep + count * running
        self._t = self._t * keep + count * step
        self._nn = self._nn * keep + count * running * running
        self._nt = self._nt * keep + count * running * step

    # -- what it says ----------------------------------------------------------------------------------------------

    @property
    def rate(self) -> float:
        """Prompt tokens a second while prompts are computed; 0 until one was."""
        return self._tokens / max(self._seconds, self._tokens * SECONDS_PER_TOKEN_MIN) if self._tokens else 0.0

    def share(self, now: float) -> float:
        """Of the last second, the part in which prompts were computed; at most 1."""
        return min(1.0, self._share * math.exp((self._shared - now) / PREFILL_SECONDS))

    @property
    def further(self) -> float:
        """Seconds that one more running prompt adds to a step."""
        if not self._weight:
            return 0.0
        n, t = self._n / self._weight, self._t / self._weight
        covariance, variance = self._nt / self._weight - n * t, self._nn / self._weight - n * n
        # No more than if a step of one prompt were all its own.
        return min(max(0.0, covariance / (variance + _VARIANCE_AT_FIRST)), t / n)

    def step(self, running: int) -> float:
        """Seconds of a step without prefill with so many prompts; 0 until some were seen."""
        if not self._weight:
            return 0.0
        # `further` lets it come down to 0 at no prompts, and rounding below that.
        return max(0.0, self._t / self._weight + self.further * (running - self._n / self._weight))
