"""A flow and assertions that enforce a retry and a replacement; the pipeline's name comes from the environment."""

from __future__ import annotations

import asyncio
import os

from pydantic import BaseModel

from assertions import Severity, assertion
from streams import Pipeline, Prompt, Stream, hints

NAME = os.environ.get("ENFORCED_PIPELINE", "enforced")
MODEL = f"{NAME}-model"
RETRIES = 2
HINT = "do not say forbidden"

enforced = Pipeline(NAME)


class Question(BaseModel):
    text: str


class Summary(BaseModel):
    text: str
    asked: int = 0
    """How many hints the stage was given."""


@enforced.model(MODEL, max_tokens=50)
def draft(question: Question) -> Prompt:
    return Prompt(text=f"{question.text} | {'; '.join(hints())}")


@enforced.stage
async def summary(text: Stream[str]) -> Summary:
    return Summary(text="".join([piece async for piece in text]), asked=len(hints()))


@enforced.stage
async def polish(found: Summary) -> Summary:
    await asyncio.sleep(10.0)  # long enough, on a busy machine too, for whoever judges what came before
    return found


@enforced.flow
def flow(question: Question) -> Summary:
    return polish(summary(draft(question)))


@assertion(on=draft, early=True, enforce="retry", retries=RETRIES, severity="1: says it")
def says_forbidden(text: str) -> Severity:
    return Severity("forbidden" in text, HINT)


@assertion(on=summary, enforce="replace", severity="1: tells it")
def tells_a_secret(found: Summary) -> Severity:
    return Severity("secret" in found.text, "tells a secret", instead=Summary(text="(withheld)"))


@assertion(on=summary, enforce="retry", severity="1: too short")
def too_short(found: Summary) -> Severity:
    return Severity(found.text.strip() == "short", "longer")
