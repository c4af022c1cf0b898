"""A small fact checker whose model stages are written by the simulated engine: text, a fork, verdicts, a join."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import BaseModel, Field

from streams import Pipeline, Prompt, Stream


class Question(BaseModel):
    text: str = Field(min_length=1, max_length=400)


class Claim(BaseModel):
    sentence: str


class Verdict(BaseModel):
    sentence: str
    label: str
    confidence: float


class Report(BaseModel):
    text: str
    supported: int
    refuted: int


def checker(name: str, model: str) -> Pipeline:
    p = Pipeline(name)

    @p.model(model, max_tokens=40)
    def draft(question: Question) -> Prompt:
        return Prompt(text=f"Answer in a few sentences. {question.text}")

    @p.stage
    async def claims(text: Stream[str]) -> AsyncIterator[Claim]:
        held: list[str] = []
        async for piece in text:
            held += piece.split()
            while len(held) >= 8:
                yield Claim(sentence=" ".join(held[:8]).capitalize() + ".")
                del held[:8]

    @p.model(model, max_tokens=6)
    def verify(claim: Claim) -> Prompt:
        return Prompt(text=f"Is this right? {claim.sentence}")

    @p.stage
    async def verdict(claim: Claim, text: Stream[str]) -> Verdict:
        tone = sum(map(ord, claim.sentence + await text.text()))
        label = ("supported", "refuted", "unknown")[tone % 3]
        return Verdict(sentence=claim.sentence, label=label, confidence=0.5 + tone % 50 / 100)

    @p.stage
    async def report(question: Question, verdicts: Stream[Verdict]) -> Report:
        found = await verdicts.collect()
        await asyncio.sleep(0)
        return Report(
            text=" ".join(v.sentence for v in found),
            supported=sum(v.label == "supported" for v in found),
            refuted=sum(v.label == "refuted" for v in found),
        )

    @p.flow
    def flow(question: Question) -> Report:
        each = claims(draft(question))
        return report(question, verdict(each, verify(each)))

    return p
