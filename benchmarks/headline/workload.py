"""Seeded requests that arrive by Poisson's law: lengths and times, the same for every arm; texts differ by `salt`."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from benchmarks.headline.texts import words


class ClaimPlan(BaseModel):
    """What will become of one claim of a draft."""

    ends_at: int
    """Tokens of the draft after which it is whole."""
    query_tokens: int
    retrieve_seconds: float
    evidence_tokens: int
    verify_tokens: int


class Ask(BaseModel):
    """One request."""

    salt: str
    question: str
    document: str
    """Empty in the variant whose prompts share only their templates."""
    draft_tokens: int
    claims: list[ClaimPlan]
    report_tokens: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Mean tokens of what varies, tokens of what does not: those of the pipelines in `benchmarks.routing`, and a query."""

    question: int = 60
    document: int = 2_400
    draft: int = 180
    claim: int = 30
    evidence: int = 180
    report: int = 110
    query: int = 16
    verify: int = 60
    draft_template: int = 420
    query_template: int = 240
    verify_template: int = 640
    report_template: int = 320
    verdict: int = 40

    def scaled(self, factor: float) -> Sizes:
        """All of them times a factor, at least 2: for engines that are much slower than a GPU."""
        return Sizes(*(max(2, round(getattr(self, name) * factor)) for name in self.__slots__))


CLAIMS_MAX: Final = 16
RETRIEVE_SECONDS: Final = 0.03
RETRIEVE_MORE_SECONDS: Final = 0.02
"""A search takes the first, and exponentially distributed time of this mean in addition."""


@dataclass(frozen=True, slots=True)
class Arrival:
    at: float
    """Seconds after the first."""
    ask: Ask


@dataclass(frozen=True, slots=True)
class Workload:
    """The same seed gives the same lengths in the same order, whatever the salt."""

    sizes: Sizes
    seed: int
    document: bool
    """Whether a request has a document that its draft and all its claims are asked with."""
    speed: float = 1.0
    """Simulated seconds in a real one: what a search takes is real time."""

    def requests(self, salt: str) -> Iterator[Ask]:
        """Without end."""
        rng = random.Random(f"sizes {self.seed}")
        for number in itertools.count():
            yield self._request(rng, f"{salt}.{number}")

    def arrivals(self, salt: str, *, rate: float, seconds: float) -> list[Arrival]:
        """Poisson arrivals, in simulated seconds; two rates have the same requests, closer together."""
        rng = random.Random(f"arrivals {self.seed}")
        found: list[Arrival] = []
        now = 0.0
        for ask in self.requests(salt):
            now += rng.expovariate(1.0) / rate
            if now >= seconds:
                break
            found.append(Arrival(now, ask))
        return found

    def _request(self, rng: random.Random, salt: str) -> Ask:
        sizes = self.sizes
        draft = _tokens(rng, sizes.draft, 0.35, sizes.draft // 4, sizes.draft * 3)
        claims = max(1, min(CLAIMS_MAX, round(draft / sizes.claim + rng.gauss(0, 1))))
        question = _tokens(rng, sizes.question, 0.5, 4, sizes.question * 10)
        # Drawn always, so that both variants have the same lengths of everything else.
        document = _tokens(rng, sizes.document, 0.3, 8, sizes.document * 4)
        plans = [
            ClaimPlan(
                ends_at=max(1, round(draft * (i + 1) / (claims + 0.5))),
                query_tokens=_tokens(rng, sizes.query, 0.3, 2, sizes.query * 4),
                retrieve_seconds=(RETRIEVE_SECONDS + rng.expovariate(1 / RETRIEVE_MORE_SECONDS)) / self.speed,
                evidence_tokens=_tokens(rng, sizes.evidence, 0.6, 4, sizes.evidence * 10),
                verify_tokens=_tokens(rng, sizes.verify, 0.5, 2, sizes.verify * 7),
            )
            for i in range(claims)
        ]
        return Ask(
            salt=salt,
            question=words(f"question {salt}", question),
            document=words(f"document {salt}", document) if self.document else "",
            draft_tokens=draft,
            claims=plans,
            report_tokens=_tokens(rng, sizes.report, 0.3, 2, sizes.report * 4),
        )


def _tokens(rng: random.Random, mean: float, spread: float, least: int, most: int) -> int:
    """Lognormal with this mean; `spread` is the standard deviation of the logarithm."""
    return min(most, max(least, round(rng.lognormvariate(math.log(mean) - spread**2 / 2, spread))))
