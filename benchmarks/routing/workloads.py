"""Seeded workloads. Every parameter is in `WORKLOADS`; rates are requests a second for eight engines."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from benchmarks.routing.simulation import Fault, Setup
from benchmarks.routing.trace import Name, Spec, Trace, compiled


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Poisson, or on and off: for `burst_seconds` of each `period` the rate is `burst` times the mean."""

    rate: float
    seconds: float
    burst: float = 1.0
    period: float = 10.0
    burst_seconds: float = 2.0

    def times(self, rng: random.Random) -> Iterator[float]:
        """Thinning of a Poisson process at the highest rate."""
        quiet = (self.period - self.burst * self.burst_seconds) / (self.period - self.burst_seconds)
        now = 0.0
        while True:
            now += rng.expovariate(self.rate * self.burst)
            if now >= self.seconds:
                return
            factor = self.burst if now % self.period < self.burst_seconds else quiet
            if rng.random() * self.burst < factor:
                yield now


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    about: str
    make: Callable[[Arrivals, random.Random], list[Spec]]
    arrivals: Arrivals
    setup: Setup = field(default_factory=Setup)

    def trace(self, seed: int, *, shorter: float = 1.0) -> Trace:
        """The same for the same seed. `shorter` < 1 takes that part of the time."""
        arrivals = replace(self.arrivals, seconds=self.arrivals.seconds * shorter)
        return compiled(self.make(arrivals, random.Random(f"{self.name.split('/')[0]} {seed}")))


def _tokens(rng: random.Random, mean: float, spread: float, least: int = 8, most: int = 100_000) -> int:
    """Lognormal with this mean; `spread` is the standard deviation of the logarithm."""
    return min(most, max(least, round(rng.lognormvariate(math.log(mean) - spread**2 / 2, spread))))


def pipeline(document: int = 0) -> Callable[[Arrivals, random.Random], list[Spec]]:
    """Fact checking: a draft streams claims, each is checked while the draft goes on, one report joins
    them. Three stages with a template each; siblings share a document of so many tokens, new in each
    request, or nothing."""

    def make(arrivals: Arrivals, rng: random.Random) -> list[Spec]:
        specs: list[Spec] = []
        for root, t in enumerate(arrivals.times(rng)):
            draft = _tokens(rng, 180, 0.35, 40, 600)
            claims = max(1, min(16, round(draft / 30 + rng.gauss(0, 1))))
            question = (f"q{root}", _tokens(rng, 60, 0.5))
            shared: list[tuple[Name, int]] = [(f"d{root}", _tokens(rng, document, 0.3))] if document else []
            spoken = [round(draft * (i + 1) / (claims + 0.5)) for i in range(claims)]
            specs.append(
                Spec(
                    t=t,
                    root=root,
                    id="draft",
                    stage="draft",
                    segs=(("T draft", 420), *shared, question),
                    out=draft,
                    at_token=tuple((at, f"check{i}") for i, at in enumerate(spoken)),
                )
            )
            for i in range(claims):
                claim, evidence = (f"c{root}.{i}", 30), (f"e{root}.{i}", _tokens(rng, 180, 0.6))
                specs.append(
                    Spec(
                        t=t,
                        root=root,
                        id=f"check{i}",
                        stage="check",
                        segs=(("T check", 640), *shared, claim, evidence),
                        out=_tokens(rng, 60, 0.5, 4, 400),
                        needs=1,
                        delay=0.03 + rng.expovariate(50),
                        when_done=("report",),
                    )
                )
            verdicts = (f"v{root}", 40 * claims)
            specs.append(
                Spec(
                    t=t,
                    root=root,
                    id="report",
                    stage="report",
                    segs=(("T report", 320), question, verdicts),
                    out=_tokens(rng, 110, 0.3, 20, 400),
                    needs=claims,
                )
            )
        return specs

    return make


def chat(arrivals: Arrivals, rng: random.Random) -> list[Spec]:
    """Conversations behind one system prompt; each turn repeats everything before it. Thinking takes 4 to
    30 s."""
    specs: list[Spec] = []
    for talk, begin in enumerate(arrivals.times(rng)):
        segs: list[tuple[Name, int]] = [("S", 240), (f"ctx{talk}", _tokens(rng, 500, 0.9))]
        t = begin
        for turn in itertools.count():
            segs.append((f"u{talk}.{turn}", _tokens(rng, 90, 0.8)))
            out = _tokens(rng, 190, 0.6, 8, 1_000)
            specs.append(Spec(t=t, root=f"{talk}.{turn}", id=0, stage="chat", segs=tuple(segs), out=out))
            segs.append((f"a{talk}.{turn}", out))
            t += 1.5 + out * 0.012 + 3 + rng.expovariate(1 / 8)
            if t > arrivals.seconds or rng.random() < 0.17:
                break
    return specs


def tenants(arrivals: Arrivals, rng: random.Random) -> list[Spec]:
    """Many tenants with a system prompt each, asked for by Zipf's law (exponent 1.05)."""
    sizes = [_tokens(random.Random(f"tenant {i}"), 1_900, 0.5) for i in range(300)]
    weights = list(itertools.accumulate(1 / (i + 1) ** 1.05 for i in range(len(sizes))))
    specs: list[Spec] = []
    for root, t in enumerate(arrivals.times(rng)):
        tenant = rng.choices(range(len(sizes)), cum_weights=weights)[0]
        segs = ((f"tenant {tenant}", sizes[tenant]), (f"q{root}", _tokens(rng, 150, 0.7)))
        specs.append(Spec(t=t, root=root, id=0, stage="ask", segs=segs, out=_tokens(rng, 150, 0.6, 4, 1_000)))
    return specs


def no_sharing(arrivals: Arrivals, rng: random.Random) -> list[Spec]:
    """Prompts that have nothing in common."""
    return [
        Spec(
            t=t, root=root, id=0, stage="ask", segs=((f"p{root}", _tokens(rng, 1_100, 0.7, 32, 12_000)),),
            out=_tokens(rng, 160, 0.7, 4, 1_200),
        )
        for root, t in enumerate(arrivals.times(rng))
    ]  # fmt: skip


def mix(arrivals: Arrivals, rng: random.Random) -> list[Spec]:
    """Nine short questions to one long document, nothing shared, one stage each."""
    specs: list[Spec] = []
    for root, t in enumerate(arrivals.times(rng)):
        is_long = rng.random() < 0.1
        prompt = _tokens(rng, 9_000, 0.4, 4_000, 30_000) if is_long else _tokens(rng, 220, 0.6, 32, 1_500)
        out = _tokens(rng, 250, 0.5, 16, 1_200) if is_long else _tokens(rng, 110, 0.6, 4, 800)
        stage = "summary" if is_long else "ask"
        specs.append(Spec(t=t, root=root, id=0, stage=stage, segs=((f"p{root}", prompt),), out=out))
    return specs


_DEATH: Final = Setup(faults=(Fault(worker=2, dies=11.0, returns=20.0),))
_SLOW: Final = Setup(slow=((3, 2.0),))


def _all() -> Iterator[Workload]:
    fact, document = pipeline(), pipeline(2_400)
    yield Workload("pipeline/low", "templates only", fact, Arrivals(12, 36))
    yield Workload("pipeline/mid", "templates only", fact, Arrivals(22, 27))
    yield Workload("pipeline/high", "templates only", fact, Arrivals(32, 22))
    yield Workload("pipeline/bursts", "templates only, bursts", fact, Arrivals(18, 27, burst=3.0, period=9.0))
    yield Workload("document/low", "siblings share a document", document, Arrivals(9, 40))
    yield Workload("document/high", "siblings share a document", document, Arrivals(14, 32))
    yield Workload("chat/mid", "conversations", chat, Arrivals(18, 50))
    yield Workload("chat/high", "conversations", chat, Arrivals(28, 45))
    yield Workload("tenants/mid", "Zipf system prompts", tenants, Arrivals(95, 34))
    yield Workload("tenants/high", "Zipf system prompts", tenants, Arrivals(140, 28))
    yield Workload("tenants/bursts", "same, bursts", tenants, Arrivals(75, 36, burst=3.0, period=9.0))
    yield Workload("no_sharing/mid", "no common prefix", no_sharing, Arrivals(65, 40))
    yield Workload("no_sharing/high", "no common prefix", no_sharing, Arrivals(95, 34))
    yield Workload("no_sharing/bursts", "same, bursts", no_sharing, Arrivals(50, 45, burst=3.0, period=9.0))
    yield Workload("mix/mid", "one long prompt in ten", mix, Arrivals(65, 40))
    yield Workload("mix/high", "one long prompt in ten", mix, Arrivals(95, 34))
    yield Workload("pipeline/slow", "one worker at half speed", fact, Arrivals(20, 28), _SLOW)
    yield Workload("tenants/slow", "one worker at half speed", tenants, Arrivals(85, 34), _SLOW)
    yield Workload("pipeline/death", "a worker dies and returns", fact, Arrivals(18, 30), _DEATH)
    yield Workload("tenants/death", "a worker dies and returns", tenants, Arrivals(85, 34), _DEATH)


WORKLOADS: Final[Mapping[str, Workload]] = MappingProxyType({w.name: w for w in _all()})
