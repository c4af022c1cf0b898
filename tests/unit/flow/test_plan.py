"""The plans of a few flows, in full."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.core.plan import REQUEST, Comparison, InputMode, InputPlan, OnError, Plan, StageKind, StagePlan
from streams.errors import FlowError
from streams.flow import Failed, Pipeline, Prompt, Stream
from tests.unit.flow import flows
from tests.unit.flow.flows import Claim, Evidence, Question, Report, Verdict


def item(parameter: str, source: str, depth: int, item_type: object) -> InputPlan:
    return InputPlan(parameter, source, InputMode.ITEM, depth, is_text=False, item_type=item_type)


def stream(parameter: str, source: str, depth: int, item_type: object, *, is_text: bool = False) -> InputPlan:
    return InputPlan(parameter, source, InputMode.STREAM, depth, is_text=is_text, item_type=item_type)


def test_factcheck() -> None:
    expected = Plan(
        pipeline="factcheck",
        request_type=Question,
        answer_type=Report,
        answer="report",
        stages=(
            StagePlan(
                name="draft",
                kind=StageKind.MODEL,
                function=flows.draft.function,
                inputs=(item("question", REQUEST, 0, Question),),
                ancestry=(),
                lineage=("draft",),
                output_type=str,
                key_depth=0,
                options={"model": "writer", "max_tokens": 160},
            ),
            StagePlan(
                name="claims",
                kind=StageKind.FORK,
                function=flows.claims.function,
                inputs=(stream("text", "draft", 0, str, is_text=True),),
                ancestry=(),
                lineage=("draft", "claims"),
                output_type=Claim,
                key_depth=1,
            ),
            StagePlan(
                name="evidence",
                kind=StageKind.MAP,
                function=flows.evidence.function,
                inputs=(item("claim", "claims", 1, Claim),),
                ancestry=("claims",),
                lineage=("draft", "claims", "evidence"),
                output_type=Evidence,
                key_depth=1,
            ),
            StagePlan(
                name="verify",
                kind=StageKind.MODEL,
                function=flows.verify.function,
                inputs=(item("claim", "claims", 1, Claim), item("evidence", "evidence", 1, Evidence)),
                ancestry=("claims",),
                lineage=("draft", "claims", "evidence", "verify"),
                output_type=str,
                key_depth=1,
                options={"model": "verifier"},
            ),
            StagePlan(
                name="verdict",
                kind=StageKind.MAP,
                function=flows.verdict.function,
                inputs=(item("claim", "claims", 1, Claim), stream("text", "verify", 1, str, is_text=True)),
                ancestry=("claims",),
                lineage=("draft", "claims", "evidence", "verify", "verdict"),
                output_type=Verdict,
                key_depth=0,
            ),
            StagePlan(
                name="report",
                kind=StageKind.MAP,
                function=flows.report.function,
                inputs=(item("question", REQUEST, 0, Question), stream("verdicts", "verdict", 1, Verdict)),
                ancestry=(),
                lineage=("draft", "claims", "report"),
                output_type=Report,
                key_depth=0,
            ),
        ),
    )
    plan = flows.factcheck.plan
    assert plan == expected
    assert [s.function for s in plan.stages] == [s.function for s in expected.stages]
    assert plan.digest == expected.digest


def test_a_diamond_below_a_join_carries_digests() -> None:
    """E joined over triple@a and V over triple@b would meet with equal lineages (PROTOCOL-FLAWS 16)."""
    plan = flows.diamond.plan
    assert {s.name: s.digests for s in plan.stages if s.digests} == {
        "all_evidence": ("triple",),
        "all_verdicts": ("triple",),
    }
    assert plan["summary"].compares == (Comparison("triple", ("all_evidence", "all_verdicts")),)
    assert plan["summary"].lineage == ("split", "all_evidence", "all_verdicts", "summary")
    assert {s.name: s.key_depth for s in plan.stages} == {
        "split": 1,
        "triple": 1,
        "look_up": 0,
        "judge": 0,
        "all_evidence": 0,
        "all_verdicts": 0,
        "summary": 0,
    }


def test_the_answer_may_be_a_text() -> None:
    chat = Pipeline("chat")

    @chat.model("writer", stop=["\n"], temperature=0.5, retries=0, timeout=3)
    async def reply(question: Question) -> Prompt:
        return Prompt(text=question.text)

    @chat.flow
    def flow(question: Question) -> str:
        return reply(question)

    assert (chat.plan.answer, chat.plan.answer_type, chat.plan["reply"].key_depth) == ("reply", str, 0)
    assert chat.plan["reply"].options == {"model": "writer", "temperature": 0.5, "stop": ("\n",)}
    assert (chat.plan["reply"].retries, chat.plan["reply"].timeout_seconds) == (0, 3)


def test_a_broadcast_lowers_the_key_of_all_that_meet_it() -> None:
    p = Pipeline("broadcast")

    @p.stage
    def words(question: Question) -> list[str]:
        return question.text.split()

    @p.stage
    def fork(question: Question) -> Iterator[str]:
        yield from question.text

    @p.stage
    def upper(letter: str) -> str:
        return letter.upper()

    @p.stage
    def occurs(letter: str, words: list[str]) -> bool:
        return letter in words

    @p.stage
    async def some(found: Stream[bool]) -> bool:
        return any(await found.collect())

    @p.flow
    def flow(question: Question) -> bool:
        return some(occurs(upper(fork(question)), words(question)))

    assert p.plan["occurs"].ancestry == ("fork",)
    assert {s.name: s.key_depth for s in p.plan.stages} == {
        "words": 0,
        "fork": 1,
        "upper": 0,
        "occurs": 0,
        "some": 0,
    }


def test_a_stream_beside_the_request_joins_all_levels_at_once() -> None:
    p = Pipeline("nested")

    @p.stage
    def lines(question: Question) -> Iterator[str]:
        yield from question.text.splitlines()

    @p.stage
    def letters(line: str) -> Iterator[str]:
        yield from line

    @p.stage
    async def count(question: Question, letters: Stream[str]) -> int:
        return len(await letters.collect())

    @p.flow
    def flow(question: Question) -> int:
        return count(question, letters(lines(question)))

    assert p.plan["letters"].ancestry == ("lines",)
    assert (p.plan["letters"].depth, p.plan["letters"].out_depth) == (1, 2)
    assert (p.plan["count"].ancestry, p.plan["count"].inputs[1].depth) == ((), 2)
    assert p.plan["count"].lineage == ("lines", "count")
    assert (p.plan["lines"].key_depth, p.plan["letters"].key_depth) == (1, 0)


def test_a_join_may_pass_errors_on() -> None:
    p = Pipeline("lenient")

    @p.stage
    def split(question: Question) -> Iterator[str]:
        yield from question.text

    @p.stage(on_error="pass")
    async def join(letters: Stream[str | Failed]) -> int:
        return len(await letters.collect())

    @p.flow
    def flow(question: Question) -> int:
        return join(split(question))

    (given,) = p.plan["join"].inputs
    assert (given.item_type, given.takes_failed, p.plan["join"].on_error) == (str, True, OnError.PASS)


def test_there_is_no_plan_before_the_flow() -> None:
    with pytest.raises(FlowError) as refused:
        _ = Pipeline("empty").plan
    assert refused.value.code == "flow.missing"
