"""The fact checker: a language model's answer, checked claim by claim while it is still being written.

    question → draft → claims → triple → evidence → verify → verdict → report

`draft`, `triple` and `verify` are answered by a language model. `claims` reads the draft as it is generated and forks
into one claim a sentence; everything between it and `report` runs once a claim, on whichever instance is free.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from typing import Final

from examples.factcheck import prompts
from examples.factcheck.judge import judge, summarise
from examples.factcheck.lookup import evidence_for
from examples.factcheck.models import Claim, Evidence, Question, Report, Verdict
from examples.factcheck.sentences import Sentences
from examples.factcheck.served import verifier
from examples.factcheck.subjects import named, subject_of_question, subject_of_sentence
from streams.flow import Chunk, Pipeline, Prompt, Stream

MODEL: Final = os.environ.get("FACTCHECK_MODEL", "gemma-3-270m")
"""The name under which workers serve the model of all three model stages."""

factcheck = Pipeline("factcheck")


@factcheck.model(MODEL, max_tokens=prompts.DRAFT_TOKENS, temperature=0.0, stop=prompts.STOP)
def draft(question: Question) -> Prompt:
    return Prompt(text=prompts.draft_prompt(question.text))


@factcheck.stage
async def claims(question: Question, text: Stream[str]) -> AsyncIterator[Claim]:
    """One claim a sentence, as soon as the sentence has ended; what the question asks about is named in each."""
    sentences, subject = Sentences(), subject_of_question(question.text)
    async for piece in text:
        for sentence in sentences.feed(piece):
            subject = subject or subject_of_sentence(sentence)
            yield Claim(sentence=sentence, text=named(sentence, subject))
    for sentence in sentences.close():
        subject = subject or subject_of_sentence(sentence)
        yield Claim(sentence=sentence, text=named(sentence, subject))


@factcheck.model(MODEL, max_tokens=prompts.TRIPLE_TOKENS, temperature=0.0, stop=prompts.STOP, whole=True)
def triple(claim: Claim) -> Prompt:
    return Prompt(text=prompts.triple_prompt(claim.text))


@factcheck.stage
async def evidence(claim: Claim, line: Stream[str]) -> Evidence:
    return evidence_for(claim.text, await line.text())


@factcheck.model(MODEL, max_tokens=prompts.VERIFY_TOKENS, temperature=0.0, logprobs=prompts.VERIFY_ALTERNATIVES)
def verify(claim: Claim, evidence: Evidence) -> Prompt:
    said = evidence.triple.object if evidence.triple else claim.text
    return Prompt(text=prompts.verify_prompt(evidence.facts[: prompts.VERIFY_FACTS], said))


@factcheck.stage(uses=[verifier])
async def verdict(claim: Claim, evidence: Evidence, answer: Stream[Chunk]) -> Verdict:
    """The model's log-probabilities of "yes" and "no", with how alike claim and facts are, judged by the verifier."""
    first: Mapping[str, float] = {}
    async for chunk in answer:
        first = first or next(iter(chunk.logprobs), {})
    return judge(claim, evidence, first, verifier.value.of(claim.text))


@factcheck.stage
async def report(question: Question, verdicts: Stream[Verdict]) -> Report:
    return summarise(question.text, await verdicts.collect())


@factcheck.flow
def flow(question: Question) -> Report:
    found = claims(question, draft(question))
    facts = evidence(found, triple(found))
    return report(question, verdict(found, facts, verify(found, facts)))
