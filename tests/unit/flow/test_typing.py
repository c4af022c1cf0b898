"""What mypy sees of stages and flows; each function here is checked by `mypy` and runs, too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, assert_type

from streams.flow import Chunk, Drop, Pipeline, Prompt, Stream
from tests.unit.flow import flows
from tests.unit.flow.flows import Claim, Evidence, Question, Report

p = Pipeline("typed")


@p.stage(retries=1)
async def find(question: Question) -> AsyncIterator[Claim]:
    yield Claim(text=question.text)


@p.stage(on_error="drop")
async def keep(claim: Claim) -> Claim | Drop:
    return claim if claim.text else Drop()


@p.model("writer", max_tokens=8)
async def ask(claim: Claim) -> Prompt:
    return Prompt(text=claim.text)


@p.stage
async def read(text: Stream[Chunk]) -> int:
    return len([chunk async for chunk in text])


@p.stage
async def total(counts: Stream[int]) -> int:
    return sum(await counts.collect())


@p.flow
def flow(question: Question) -> int:
    found = assert_type(find(question), Claim)
    kept = assert_type(keep(found), Claim | Drop)
    text = assert_type(ask(kept), str)
    return assert_type(total(assert_type(read(text), int)), int)


def test_a_call_in_a_flow_has_the_type_of_one_item() -> None:
    assert p.plan.answer_type is int
    if TYPE_CHECKING:
        question = Question(text="")
        assert_type(flows.draft(question), str)
        assert_type(flows.claims(""), Claim)
        assert_type(flows.split(question), str)
        assert_type(flows.report(question, question), Report)


def test_functions_keep_their_exact_types() -> None:
    question = Question(text="a")
    assert_type(flows.draft.function(question), Prompt)
    assert_type(flows.split.function(question), Iterator[str])
    if TYPE_CHECKING:
        assert_type(find.function(question), AsyncIterator[Claim])
        flows.draft.function("no question")  # type: ignore[arg-type]


async def test_the_function_of_an_async_stage_is_awaited() -> None:
    assert_type(await flows.evidence.function(Claim(text="")), Evidence)
