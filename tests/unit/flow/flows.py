"""Flows that several tests look at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from pydantic import BaseModel

from streams.flow import Pipeline, Prompt, Stream


class Question(BaseModel):
    text: str


class Claim(BaseModel):
    text: str


class Evidence(BaseModel):
    facts: list[str]


class Verdict(BaseModel):
    claim: Claim
    is_true: bool


class Report(BaseModel):
    verdicts: list[Verdict]


factcheck = Pipeline("factcheck")


@factcheck.model("writer", max_tokens=160)
def draft(question: Question) -> Prompt:
    return Prompt(text=f"Tell me about {question.text}.")


@factcheck.stage
async def claims(text: Stream[str]) -> AsyncIterator[Claim]:
    async for sentence in text:
        yield Claim(text=sentence)


@factcheck.stage
async def evidence(claim: Claim) -> Evidence:
    return Evidence(facts=[claim.text])


@factcheck.model("verifier")
def verify(claim: Claim, evidence: Evidence) -> Prompt:
    return Prompt(text=f"{claim.text} {evidence.facts}", max_tokens=1)


@factcheck.stage
async def verdict(claim: Claim, text: Stream[str]) -> Verdict:
    return Verdict(claim=claim, is_true=await text.text() == "yes")


@factcheck.stage
async def report(question: Question, verdicts: Stream[Verdict]) -> Report:
    return Report(verdicts=await verdicts.collect())


@factcheck.flow
def factcheck_flow(question: Question) -> Report:
    found = claims(draft(question))
    facts = evidence(found)
    return report(question, verdict(found, verify(found, facts)))


diamond = Pipeline("diamond")


@diamond.stage
def split(question: Question) -> Iterator[str]:
    yield from question.text.split()


@diamond.stage
def triple(word: str) -> list[str]:
    return [word] * 3


@diamond.stage
def look_up(parts: list[str]) -> int:
    return len(parts)


@diamond.stage
def judge(parts: list[str]) -> bool:
    return bool(parts)


@diamond.stage
async def all_evidence(found: Stream[int]) -> list[int]:
    return await found.collect()


@diamond.stage
async def all_verdicts(question: Question, judged: Stream[bool]) -> int:
    return sum(await judged.collect())


@diamond.stage
def summary(evidence: list[int], verdicts: int) -> str:
    return f"{sum(evidence)} {verdicts}"


@diamond.flow
def diamond_flow(question: Question) -> str:
    parts = triple(split(question))
    return summary(all_evidence(look_up(parts)), all_verdicts(question, judge(parts)))
