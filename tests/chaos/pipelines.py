"""Pipelines for chaos: every value says which execution made it and of what, so that a mixture can be seen.

No two executions make the same token, and a model's text is another one whenever another process writes it. How the
generated pipeline looks is drawn from DESCANT_CHAOS_SEED, the same in every process of a round.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from random import Random, SystemRandom
from typing import Any, Final, cast

from pydantic import BaseModel

from streams import Drop, Pipeline, Prompt, Stream

MODEL: Final = "chaos"

VERSION: Final = os.environ.get("DESCANT_CHAOS_VERSION", "1")
"""Of the stage `report`: what a rolling restart replaces."""

TOLD_TOKENS: Final = 160

STEP_SECONDS: Final = 0.03
"""Longest pause of a stage between two children: runs take long enough to be cut in the middle."""

SHAPES: Final = {
    "flat": {"parts", "work", "total"},
    "deep": {"parts", "work", "pieces", "polish", "total"},
    "nested": {"parts", "work", "pieces", "polish", "gather", "total"},
    "diamond": {"parts", "work", "pieces", "polish", "gather", "both", "total"},
}
"""What a generated pipeline consists of."""

_chance: Final = SystemRandom()


class Job(BaseModel):
    n: int
    fails: bool = False
    """Asks for an error in place of an answer."""


class Made(BaseModel):
    token: str
    """Of the execution that made it, and of no other."""
    index: int = 0
    """Of a fork's child."""
    used: dict[str, list[str]] = {}
    """Parameter -> names of what the execution was given until then, in order."""
    text: str = ""
    """What it read of a text since its fork's last child; of a report: the version that made it."""

    @property
    def name(self) -> str:
        return f"{self.token}.{self.index}"


def token() -> str:
    return secrets.token_hex(6)


async def pause() -> None:
    await asyncio.sleep(_chance.random() * STEP_SECONDS)


def one_of(**given: Made) -> dict[str, list[str]]:
    return {parameter: [made.name] for parameter, made in given.items()}


async def all_of(stream: Stream[Made]) -> list[str]:
    return [made.name async for made in stream]


def forks(seed: int) -> Pipeline:
    """Forks, forks inside forks, joins, broadcasts, a diamond and filters, without a model."""
    drawn = Random(seed)  # noqa: S311 — a shape, not a secret
    shape = drawn.choice(sorted(SHAPES))
    children, drops = drawn.randint(2, 5), drawn.choice((0.0, 0.1, 0.3))
    p = Pipeline(f"forks{seed}")

    async def parts(job: Job) -> AsyncIterator[Made]:
        made = token()
        for index in range(_chance.randint(0, children)):
            await pause()
            yield Made(token=made, index=index)

    async def work(job: Job, part: Made) -> Made | Drop:
        await pause()
        if job.fails:
            raise RuntimeError("asked for")
        return Drop() if _chance.random() < drops else Made(token=token(), used=one_of(part=part))

    async def pieces(part: Made) -> AsyncIterator[Made]:
        made = token()
        for index in range(_chance.randint(0, children)):
            await pause()
            yield Made(token=made, index=index, used=one_of(part=part))

    def polish(piece: Made) -> Made | Drop:
        return Drop() if _chance.random() < drops else Made(token=token(), used=one_of(piece=piece))

    async def gather(part: Made, polished: Stream[Made]) -> Made:
        return Made(token=token(), used=one_of(part=part) | {"polished": await all_of(polished)})

    async def both(worked: Made, gathered: Made) -> Made:
        await pause()
        return Made(token=token(), used=one_of(worked=worked, gathered=gathered))

    async def total(job: Job, items: Stream[Made]) -> Made:
        return Made(token=token(), used={"items": await all_of(items)})

    functions = (parts, work, pieces, polish, gather, both, total)
    stages: dict[str, Any] = {f.__name__: p.stage(retries=0)(f) for f in functions if f.__name__ in SHAPES[shape]}

    def flow(job: Job) -> Made:
        each = stages["parts"](job)
        worked = stages["work"](job, each)
        if shape == "flat":
            return cast("Made", stages["total"](job, worked))
        start = each if shape == "diamond" else worked
        polished = stages["polish"](stages["pieces"](start))
        if shape == "deep":
            return cast("Made", stages["total"](job, polished))
        gathered = stages["gather"](start, polished)
        found = stages["both"](worked, gathered) if shape == "diamond" else gathered
        return cast("Made", stages["total"](job, found))

    p.flow(flow)
    return p


def reviews() -> Pipeline:
    """As a fact checker: a text is cut into claims while it is written, each claim is verified by a second text."""
    p = Pipeline("reviews")

    def prompt(used: dict[str, list[str]], tokens: int) -> Prompt:
        return Prompt(text=json.dumps({"token": token(), "used": used}), max_tokens=tokens)

    @p.model(MODEL)
    def draft(job: Job) -> Prompt:
        return prompt({}, 45)

    @p.stage
    async def claims(text: Stream[str]) -> AsyncIterator[Made]:
        made, index, held = token(), 0, ""
        async for piece in text:
            held += piece
            while "." in held:
                sentence, dot, held = held.partition(".")
                yield Made(token=made, index=index, text=sentence + dot)
                index += 1
        yield Made(token=made, index=index, text=held)

    @p.stage(retries=0)
    async def evidence(job: Job, claim: Made) -> Made:
        await pause()
        if job.fails:
            raise RuntimeError("asked for")
        return Made(token=token(), used=one_of(claim=claim))

    @p.model(MODEL)
    def verify(claim: Made, evidence: Made) -> Prompt:
        return prompt(one_of(claim=claim, evidence=evidence), 15)

    @p.stage
    async def verdict(claim: Made, text: Stream[str]) -> Made:
        return Made(token=token(), used=one_of(claim=claim), text=await text.text())

    @p.stage
    async def report(job: Job, verdicts: Stream[Made]) -> Made:
        return Made(token=token(), used={"verdicts": await all_of(verdicts)}, text=VERSION)

    @p.flow
    def flow(job: Job) -> Made:
        found = claims(draft(job))
        return report(job, verdict(found, verify(found, evidence(job, found))))

    return p


def plain() -> Pipeline:
    """A fork, a text for each child, a join; nothing waits on purpose. For loads of many requests."""
    p = Pipeline("plain")

    @p.stage
    def parts(job: Job) -> Iterator[Made]:
        made = token()
        for index in range(2):
            yield Made(token=made, index=index)

    @p.model(MODEL)
    def write(part: Made) -> Prompt:
        return Prompt(text=json.dumps({"token": token(), "used": one_of(part=part)}), max_tokens=4)

    @p.stage
    async def read(part: Made, text: Stream[str]) -> Made:
        return Made(token=token(), used=one_of(part=part), text=await text.text())

    @p.stage
    async def total(job: Job, items: Stream[Made]) -> Made:
        if job.fails:
            raise RuntimeError("asked for")
        return Made(token=token(), used={"items": await all_of(items)})

    @p.flow
    def flow(job: Job) -> Made:
        found = parts(job)
        return total(job, read(found, write(found)))

    return p


def tells() -> Pipeline:
    """A text, which is the answer."""
    p = Pipeline("tells")

    @p.model(MODEL, max_tokens=TOLD_TOKENS)
    def tell(job: Job) -> Prompt:
        return Prompt(text=f"Here is a long story about the {job.n}th king of the island. Once upon a time")

    @p.flow
    def flow(job: Job) -> str:
        return tell(job)

    return p


generated: Final = forks(int(os.environ.get("DESCANT_CHAOS_SEED", "1")))
reviewed: Final = reviews()
many: Final = plain()
told: Final = tells()
