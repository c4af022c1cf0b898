"""The pipeline with its critical path cut short: what can begin before its input is whole does. No new feature of the
platform is needed for it, only another flow.

parts      each claim is given twice: as soon as half of it is written, and when it is whole
query      asks with the half; retrieval runs while the other half is written
paired     gives a claim and its evidence to `verify` when both are there
prefetch   (where asked for) prefills template and document of the claims' prompts while the draft is written; routers
           know from then on who holds them
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from pydantic import BaseModel

from benchmarks.headline import prompts
from benchmarks.headline.pipeline import MODEL, TOKENS_MAX, Report, Verdict
from benchmarks.headline.workload import Ask, ClaimPlan
from streams import Pipeline, Prompt, Stream
from streams.flow import Chunk, Drop


class Part(BaseModel):
    """A claim, half or whole."""

    salt: str
    index: int
    text: str
    is_whole: bool
    plan: ClaimPlan


class Evidence(BaseModel):
    index: int
    text: str


class Checkable(BaseModel):
    claim: str
    evidence: str
    plan: ClaimPlan


def make(name: str, *, prefetches: bool) -> Pipeline:
    """One such pipeline."""
    pipeline = Pipeline(name)

    @pipeline.model(MODEL, max_tokens=TOKENS_MAX)
    def draft(ask: Ask) -> Prompt:
        return Prompt(text=prompts.draft_prompt(ask))

    @pipeline.stage
    async def parts(ask: Ask, text: Stream[Chunk]) -> AsyncIterator[Part]:
        written, due = "", [(at, i, whole) for i in range(len(ask.claims)) for at, whole in _cuts(ask, i)]
        async for chunk in text:
            written += chunk.text
            tokens = chunk.position + len(chunk.token_ids)
            while due and tokens >= due[0][0]:
                at, index, is_whole = due.pop(0)
                words = prompts.claim_text(written, ask, index, upto=at)
                yield Part(salt=ask.salt, index=index, text=words, is_whole=is_whole, plan=ask.claims[index])

    @pipeline.model(MODEL, max_tokens=TOKENS_MAX, whole=True)
    def query(part: Part) -> Prompt | Drop:
        return Drop() if part.is_whole else Prompt(text=prompts.query_prompt(part.text, part.plan))

    @pipeline.stage
    async def retrieve(part: Part, asked: Stream[str]) -> Evidence:
        await asked.text()
        await asyncio.sleep(part.plan.retrieve_seconds)
        return Evidence(index=part.index, text=prompts.evidence(part.salt, part.index, part.plan))

    @pipeline.model(MODEL, max_tokens=TOKENS_MAX, whole=True)
    def verify(ask: Ask, pair: Checkable) -> Prompt:
        return Prompt(text=prompts.verify_prompt(ask.document, pair.claim, pair.evidence, pair.plan))

    @pipeline.stage
    async def verdict(text: Stream[str]) -> Verdict:
        return Verdict(text=prompts.verdict_of(await text.text()))

    @pipeline.model(MODEL, max_tokens=TOKENS_MAX, whole=True)
    async def report(ask: Ask, verdicts: Stream[Verdict]) -> Prompt:
        return Prompt(text=prompts.report_prompt(ask, [v.text async for v in verdicts]))

    @pipeline.stage
    async def answer(text: Stream[str]) -> Report:
        return Report(text=await text.text())

    if prefetches:

        @pipeline.model(MODEL, max_tokens=TOKENS_MAX, whole=True)
        def prefetch(ask: Ask) -> Prompt:
            return Prompt(text=prompts.prefetch_prompt(ask))

        @pipeline.stage
        async def paired(parts: Stream[Part], found: Stream[Evidence], held: Stream[str]) -> AsyncIterator[Checkable]:
            del held  # nobody waits for it; a flow must use what it makes
            async for pair in _pairs(parts, found):
                yield pair

        @pipeline.flow
        def flow(ask: Ask) -> Report:
            written = parts(ask, draft(ask))
            found = paired(written, retrieve(written, query(written)), prefetch(ask))
            return answer(report(ask, verdict(verify(ask, found))))

    else:

        @pipeline.stage
        async def paired(parts: Stream[Part], found: Stream[Evidence]) -> AsyncIterator[Checkable]:
            async for pair in _pairs(parts, found):
                yield pair

        @pipeline.flow
        def flow(ask: Ask) -> Report:
            written = parts(ask, draft(ask))
            found = paired(written, retrieve(written, query(written)))
            return answer(report(ask, verdict(verify(ask, found))))

    return pipeline


async def _pairs(parts: Stream[Part], found: Stream[Evidence]) -> AsyncIterator[Checkable]:
    """In the order in which they become complete."""
    queue: asyncio.Queue[Part | Evidence | None] = asyncio.Queue()

    async def feed(stream: Stream[Part] | Stream[Evidence]) -> None:
        async for item in stream.unordered():
            queue.put_nowait(item)
        queue.put_nowait(None)

    claims: dict[int, Part] = {}
    evidence: dict[int, Evidence] = {}
    async with asyncio.TaskGroup() as group:
        group.create_task(feed(parts))
        group.create_task(feed(found))
        ended = 0
        while ended < 2:
            item = await queue.get()
            match item:
                case None:
                    ended += 1
                    continue
                case Part(is_whole=True):
                    claims[item.index] = item
                case Part():
                    continue
                case Evidence():
                    evidence[item.index] = item
            if item.index in claims and item.index in evidence:
                claim = claims[item.index]
                yield Checkable(claim=claim.text, evidence=evidence[item.index].text, plan=claim.plan)


def _cuts(ask: Ask, index: int) -> tuple[tuple[int, bool], tuple[int, bool]]:
    """Tokens of the draft at which a claim is half and whole."""
    start = ask.claims[index - 1].ends_at if index else 0
    end = ask.claims[index].ends_at
    return ((start + end + 1) // 2, False), (end, True)


early: Final = make("headline_early", prefetches=False)
prefetching: Final = make("headline_prefetching", prefetches=True)
