"""Cells of a load test with a closed loop, run on a real engine or on the simulated one."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from benchmarks.routing.dummy import text
from benchmarks.routing.engine import SimulatedWorker
from benchmarks.routing.hardware import Hardware
from benchmarks.routing.trace import Call, Spec, compiled
from workers.engines.protocol import Engine, Generation, Sampling

PROMPTS_A_USER: Final = 4
PROMPTS_MIN: Final = 16
"""A cell's median of fewer first tokens differs by a sixth from one run to the next (H200)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """So many users, each with one prompt under way at any time."""

    prompt: int
    """Tokens."""
    users: int
    shared: float
    """The part of the prompt that is the same for all prompts of the cell."""
    output: int

    @property
    def prefix(self) -> int:
        return int(self.prompt * self.shared)


@dataclass(frozen=True, slots=True)
class Measured:
    ttft: float
    """Median seconds to the first token."""
    throughput: float
    """Tokens generated a second."""
    prompts: int


def cells(*, is_gpu: bool) -> list[Cell]:
    """Every combination; what a GPU computes while a CPU would still be at the first."""
    prompts, users, outputs = ((256, 1_024, 3_072), (1, 8, 32), (32, 96)) if is_gpu else ((96, 384, 1_024), (1, 4, 12), (8, 32))  # fmt: skip
    return [Cell(*c) for c in itertools.product(prompts, users, (0.0, 0.5, 0.9), outputs)]


def context_of(some: Sequence[Cell]) -> int:
    """Most tokens of a prompt and its output."""
    return max(c.prompt + c.output for c in some) + 16


# --- the real one ----------------------------------------------------------------------------------------------------


def _texts(cell: Cell, rng: random.Random) -> Iterator[str]:
    """Each has `prompt` tokens with the one that the model puts before every text."""
    prefix = max(cell.prefix - 1, 0)
    shared = text(prefix, rng)
    while True:
        yield shared + text(cell.prompt - 1 - prefix, rng)


async def measure(engine: Engine, cell: Cell, rng: random.Random, seconds: float) -> Measured:
    """So many prompts, or as many as are begun in so many seconds; at least one a user."""
    texts, ttft, tokens = _texts(cell, rng), [], 0
    began = time.monotonic()
    number = itertools.count()
    turns = max(PROMPTS_A_USER, math.ceil(PROMPTS_MIN / cell.users))

    async def user() -> None:
        nonlocal tokens
        for turn in range(turns):
            if turn and time.monotonic() - began > seconds:
                return
            asked = time.monotonic()
            generation = Generation(f"c{rng.random()}-{next(number)}", next(texts), Sampling(max_tokens=cell.output))
            first = 0.0
            async with aclosing(engine.generate(generation)) as chunks:
                async for chunk in chunks:
                    if chunk.tokens and not first:
                        first = time.monotonic()
                        ttft.append(first - asked)
                    tokens += chunk.tokens

    async with asyncio.TaskGroup() as group:
        for _ in range(cell.users):
            group.create_task(user())
    return Measured(statistics.median(ttft), tokens / (time.monotonic() - began), len(ttft))


# --- the simulated one -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Constants:
    """What is fitted."""

    hardware: Hardware
    request: float
    """Seconds of a prompt outside the engine's steps: tokenizing, two hops between processes."""


def simulate(constants: Constants, cell: Cell, prompts: int) -> Measured:
    """The same cell, with as many prompts as the real engine had."""
    calls = _calls(cell, prompts)
    engine = SimulatedWorker(constants.hardware)
    arrivals = [(constants.request, user) for user in range(cell.users)]
    heapq.heapify(arrivals)
    asked: dict[int, float] = {}
    upcoming = iter(calls)
    ttft: list[float] = []
    left, now, tokens = len(calls), 0.0, 0
    while left:
        if arrivals and arrivals[0][0] <= engine.due:
            now, _ = heapq.heappop(arrivals)
            call = next(upcoming, None)
            if call is not None:
                asked[call.index] = now - constants.request
                engine.arrive(call, asked[call.index], 1.0, now)
            continue
        now = engine.due
        outcome = engine.advance(now)
        ttft += (now - asked[call.index] for call in outcome.first)
        for sequence in outcome.finished:
            left -= 1
            tokens += sequence.call.out
            heapq.heappush(arrivals, (now + constants.request, sequence.call.index))
    return Measured(statistics.median(ttft), tokens / now, prompts)


def _calls(cell: Cell, prompts: int) -> Sequence[Call]:
    specs = []
    for i in range(prompts):
        segs = (("shared", cell.prefix), (f"own{i}", cell.prompt - cell.prefix))
        specs.append(Spec(t=0.0, root=i, id=0, stage="s", segs=segs, out=cell.output))
    return compiled(specs).calls


def errors(real: Measured, simulated: Measured) -> tuple[float, float]:
    """Relative, of TTFT and of throughput."""
    return abs(simulated.ttft / real.ttft - 1), abs(simulated.throughput / real.throughput - 1)


def distance(real: Measured, simulated: Measured) -> float:
    """What the fit makes small: squared logarithms, so that twice and half are equally wrong. Without the squares it did
    worse on the cells held back (H200: 0.19 instead of 0.165)."""
    return math.log(simulated.ttft / real.ttft) ** 2 + math.log(simulated.throughput / real.throughput) ** 2
