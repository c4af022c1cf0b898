"""The pipeline, once for each routing policy: each is a pipeline of its own, in processes of its own.

draft (model) → claims (fork) → query (model) → retrieve → verify (model) → verdict → report (model) → answer
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from pydantic import BaseModel

from benchmarks.headline import prompts
from benchmarks.headline.workload import Ask, ClaimPlan
from streams import Pipeline, Prompt, Stream
from streams.flow import Chunk

MODEL: Final = "headline"
TOKENS_MAX: Final = 2_048
"""What the stages allow; the engine ends each text where its plan says."""


class Claim(BaseModel):
    salt: str
    index: int
    text: str
    plan: ClaimPlan


class Evidence(BaseModel):
    text: str


class Verdict(BaseModel):
    text: str


class Report(BaseModel):
    text: str


def make(name: str) -> Pipeline:
    """The same flow under another name."""
    pipeline = Pipeline(name)

    @pipeline.model(MODEL, max_tokens=TOKENS_MAX)
    def draft(ask: Ask) -> Prompt:
        return Prompt(text=prompts.draft_prompt(ask))

    @pipeline.stage
    async def claims(ask: Ask, text: Stream[Chunk]) -> AsyncIterator[Claim]:
        """A claim leaves as soon as the draft has the tokens that its plan says: dummy weights write no sentences."""
        written, index = "", 0
        async for chunk in text:
            written += chunk.text
            tokens = chunk.position + len(chunk.token_ids)
            while index < len(ask.claims) and tokens >= ask.claims[index].ends_at:
                words = prompts.claim_text(written, ask, index)
                yield Claim(salt=ask.salt, index=index, text=words, plan=ask.claims[index])
                index += 1

    @pipeline.model(MODEL, max_tokens=TOKENS_MAX, whole=True)
    def query(claim: Claim) -> Prompt:
        return Prompt(text=prompts.query_prompt(claim.text, claim.plan))

    @pipeline.stage
    async def retrieve(claim: Claim, asked: Stream[str]) -> Evidence:
        await asked.text()
        await asyncio.sleep(claim.plan.retrieve_seconds)
        return Evidence(text=prompts.evidence(claim.salt, claim.index, claim.plan))

    @pipeline.model(MODEL, max_tokens=TOKENS_MAX, whole=True)
    def verify(ask: Ask, claim: Claim, found: Evidence) -> Prompt:
        return Prompt(text=prompts.verify_prompt(ask.document, claim.text, found.text, claim.plan))

    @pipeline.stage
    async def verdict(claim: Claim, text: Stream[str]) -> Verdict:
        del claim
        return Verdict(text=prompts.verdict_of(await text.text()))

    @pipeline.model(MODEL, max_tokens=TOKENS_MAX, whole=True)
    async def report(ask: Ask, verdicts: Stream[Verdict]) -> Prompt:
        return Prompt(text=prompts.report_prompt(ask, [v.text async for v in verdicts]))

    @pipeline.stage
    async def answer(text: Stream[str]) -> Report:
        return Report(text=await text.text())

    @pipeline.flow
    def flow(ask: Ask) -> Report:
        found = claims(ask, draft(ask))
        facts = retrieve(found, query(found))
        return answer(report(ask, verdict(found, verify(ask, found, facts))))

    return pipeline


routed: Final = make("headline_routed")
by_turns: Final = make("headline_by_turns")
