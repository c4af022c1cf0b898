"""A pipeline for processes that are watched; its name and its model's come from the environment."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from pydantic import BaseModel

from streams import Pipeline, Prompt, Stream

PIPELINE = os.environ.get("OBSERVED_PIPELINE", "observed")
MODEL = os.environ.get("OBSERVED_MODEL", "observed-model")


class Question(BaseModel):
    text: str
    breaks: bool = False


class Claim(BaseModel):
    words: str
    breaks: bool = False


class Verdict(BaseModel):
    words: str
    doubt: float


def made(name: str, model: str) -> Pipeline:
    """question → text → claims → verdicts → how many there were."""
    p = Pipeline(name)

    @p.model(model, max_tokens=12)
    def draft(question: Question) -> Prompt:
        return Prompt(text=f"Answer: {question.text} " * 4)

    @p.stage
    async def claims(question: Question, text: Stream[str]) -> AsyncIterator[Claim]:
        held = (await text.text()).split()
        for i in range(0, len(held), 6):
            yield Claim(words=f"{question.text}: {' '.join(held[i : i + 6])}", breaks=question.breaks)

    @p.stage(retries=1)
    async def verdict(claim: Claim) -> Verdict:
        if claim.breaks:
            raise ValueError(f"cannot judge {claim.words!r}")
        return Verdict(words=claim.words, doubt=0.5)

    @p.stage
    async def report(question: Question, verdicts: Stream[Verdict]) -> str:
        return f"{len(await verdicts.collect())} claims of {question.text}"

    @p.flow
    def flow(question: Question) -> str:
        return report(question, verdict(claims(question, draft(question))))

    return p


pipeline = made(PIPELINE, MODEL)
