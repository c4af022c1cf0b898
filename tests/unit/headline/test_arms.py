"""The pipelines, the engine that ends as planned, and the peer's supersteps."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from benchmarks.headline import prompts
from benchmarks.headline.early import Checkable, Evidence, Part, _cuts, _pairs, early, prefetching
from benchmarks.headline.pipeline import by_turns, routed
from benchmarks.headline.serve import PlannedEngine
from benchmarks.headline.texts import planned, planned_tokens, words
from benchmarks.headline.workload import Ask, ClaimPlan, Sizes, Workload
from streams import Stream
from workers.engines.protocol import Generation, Sampling
from workers.engines.simulated import SimulatedEngine
from workers.settings import SimulatedSettings

PLAN = ClaimPlan(ends_at=1, query_tokens=2, retrieve_seconds=0.0, evidence_tokens=3, verify_tokens=4)


def ask() -> Ask:
    return next(Workload(Sizes().scaled(0.1), seed=3, document=True).requests("a"))


def test_all_arms_have_the_same_models_and_answers() -> None:
    plans = [pipeline.plan for pipeline in (by_turns, routed, early, prefetching)]
    assert len({plan.pipeline for plan in plans}) == 4
    assert len({plan.answer_type for plan in plans}) == 1
    for plan in plans:
        assert {"draft", "query", "verify", "report"} <= {stage.name for stage in plan.stages}


async def test_a_text_ends_where_its_prompt_plans_it() -> None:
    engine = PlannedEngine(SimulatedEngine(SimulatedSettings(speed=1_000.0)))
    await engine.start()
    for name in ("first", "again"):
        wanted = Generation(name, planned(words("prompt", 640), 17), Sampling(max_tokens=2_048))
        async with aclosing(engine.generate(wanted)) as chunks:
            assert sum([chunk.tokens async for chunk in chunks]) == 17
    assert engine.counts.prompts == 2
    assert engine.counts.output_tokens == 34
    assert engine.counts.prompt_tokens == 2 * 641
    assert engine.counts.cached_tokens == 640
    await engine.close()


def test_half_a_claim_is_the_beginning_of_the_whole() -> None:
    one = ask()
    draft = words("draft", one.draft_tokens)
    for index in range(len(one.claims)):
        (half, is_whole), (end, is_end_whole) = _cuts(one, index)
        assert (is_whole, is_end_whole, end) == (False, True, one.claims[index].ends_at)
        begun = prompts.claim_text(draft, one, index, upto=half)
        assert prompts.claim_text(draft, one, index).startswith(begun)
        assert begun


async def test_claims_leave_with_their_evidence_once_both_are_whole() -> None:
    parts = [
        Part(salt="s", index=i, text=f"{i} {whole}", is_whole=whole, plan=PLAN)
        for i in range(3)
        for whole in (False, True)
    ]
    evidence = [Evidence(index=i, text=f"found {i}") for i in (2, 0, 1)]
    pairs = [pair async for pair in _pairs(Stream.of(parts), Stream.of(evidence))]
    assert sorted(pairs, key=lambda pair: pair.claim) == [
        Checkable(claim=f"{i} True", evidence=f"found {i}", plan=PLAN) for i in range(3)
    ]


def test_what_is_prefilled_ahead_is_what_verifications_begin_with() -> None:
    one = ask()
    ahead, verify = prompts.prefetch_prompt(one), prompts.verify_prompt(one.document, " abc", " def", PLAN)
    assert planned_tokens(ahead) == 1
    assert verify.startswith(ahead.removesuffix(" =1"))


async def test_langgraph_starts_a_stage_when_all_of_the_stage_before_have_ended() -> None:
    pytest.importorskip("langgraph", reason="the peer is in the extra `bench`")
    from benchmarks.headline.superstep import graph

    one, under_way, order = ask(), 0, []

    async def generate(prompt: str, began: float) -> str:
        nonlocal under_way
        tokens = planned_tokens(prompt) or 0
        order.append(("begin", tokens))
        under_way += 1
        await asyncio.sleep(0.001 * tokens)
        under_way -= 1
        order.append(("end", tokens))
        return words(prompt, tokens)

    result = await graph(generate).ainvoke({"ask": one, "began": 0.0, "verdicts": []})
    assert [index for index, _ in sorted(result["verdicts"])] == list(range(len(one.claims)))
    assert len(result["report"].split()) == one.report_tokens
    # draft, all queries, all verifications, report: each block begins after the one before has ended.
    sizes = [1, len(one.claims), len(one.claims), 1]
    at = 0
    for size in sizes:
        block = order[at : at + 2 * size]
        assert [what for what, _ in block].count("begin") == size
        assert block[:size] == [entry for entry in block if entry[0] == "begin"]
        at += 2 * size
    assert at == len(order)
