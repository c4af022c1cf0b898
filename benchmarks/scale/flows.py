"""The flows that are measured. SCALE_PIPELINE names the one that processes run."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import AsyncIterator

from streams import Pipeline, Prompt, Stream

CHUNKS_SHOWN = 500
"""`watch` gives an item for each so many chunks, over all texts: how far it is shows on its topic."""

WORK_ROUNDS = 400
"""Of hashing, some 200 µs: what an instance does for a record."""


def watched(name: str) -> Pipeline:
    """A model's text, read as it comes."""
    pipeline = Pipeline(name)
    seen = itertools.count(1)

    @pipeline.model("writer")
    def write(request: str) -> Prompt:
        return Prompt(text=request)

    @pipeline.stage
    async def watch(text: Stream[str]) -> AsyncIterator[int]:
        async for _ in text:
            number = next(seen)
            if number % CHUNKS_SHOWN == 0:
                yield number

    @pipeline.stage
    async def last(request: str, numbers: Stream[int]) -> str:
        return f"{request} {len(await numbers.collect())}"

    @pipeline.flow
    def flow(request: str) -> str:
        return last(request, watch(write(request)))

    return pipeline


def joined(name: str) -> Pipeline:
    """A fork and its join."""
    pipeline = Pipeline(name)

    @pipeline.stage
    async def fan(request: int) -> AsyncIterator[int]:
        for number in range(request):
            yield number

    @pipeline.stage
    async def gather(items: Stream[int]) -> int:
        return sum(await items.collect())

    @pipeline.flow
    def flow(request: int) -> int:
        return gather(fan(request))

    return pipeline


def worked(name: str) -> Pipeline:
    """One stage that takes CPU."""
    pipeline = Pipeline(name)

    @pipeline.stage
    def work(text: str) -> str:
        digest = text.encode()
        for _ in range(WORK_ROUNDS):
            digest = hashlib.sha256(digest).digest()
        return digest.hex()

    @pipeline.flow
    def flow(text: str) -> str:
        return work(text)

    return pipeline


pipeline = {"watched": watched, "worked": worked}[os.environ.get("SCALE_FLOW", "worked")](
    os.environ.get("SCALE_PIPELINE", "scale")
)
