"""Very many requests that are cancelled in the middle, in one process: what they leave behind can be counted."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from pydantic import BaseModel

from streams import Pipeline, Prompt, Stream
from streams.client import AnswerError, Client
from streams.core.effects import Node, Request, Run
from streams.core.group import Group
from streams.core.lane import Prompt as LanePrompt
from streams.core.lane import Writing
from streams.runtime.process import PipelineProcess, roles_of
from streams.runtime.stage import StageSlot
from streams.settings import KafkaSettings, PipelineSettings
from workers.engines.registry import create_engine
from workers.service.lanes import LaneSlot
from workers.service.worker import Worker

OPEN_MAX: Final = 60
"""Requests under way at a time."""

BEFORE_CANCEL_SECONDS: Final = 0.4
"""At most: some are cancelled before they are read, some while their claims are verified, none after its answer."""

ANSWER_SECONDS_MAX: Final = 60.0
FREED_SECONDS_MAX: Final = 20.0
TOLD_EVERY: Final = 1_000

KINDS: Final = (Request, Node, Group, Run, LanePrompt, Writing)
"""What exists only for requests that are open."""

SETTINGS: Final = PipelineSettings(partitions=2, lanes=2)


class Subject(BaseModel):
    n: int


class Claim(BaseModel):
    word: str


def endless(name: str, model: str) -> Pipeline:
    """A text of half a minute, cut into claims as it comes; each is verified by a text of half a minute."""
    p = Pipeline(name)

    @p.model(model, max_tokens=2_000)
    def draft(subject: Subject) -> Prompt:
        return Prompt(text=f"Number {subject.n}.")

    @p.stage
    async def claims(text: Stream[str]) -> AsyncIterator[Claim]:
        async for piece in text:
            yield Claim(word=piece)

    @p.model(model, max_tokens=2_000)
    def verify(claim: Claim) -> Prompt:
        return Prompt(text=claim.word)

    @p.stage
    async def verdict(claim: Claim, text: Stream[str]) -> str:
        return await text.text()

    @p.stage
    async def report(subject: Subject, verdicts: Stream[str]) -> str:
        return " ".join(await verdicts.collect())

    @p.flow
    def flow(subject: Subject) -> str:
        found = claims(draft(subject))
        return report(subject, verdict(found, verify(found)))

    return p


async def cancel_many(
    kafka: KafkaSettings, name: str, requests: int, say: Callable[[str], None]
) -> tuple[dict[str, Any], list[str]]:
    """Send, cancel, wait for the answer; then count what is left. `name`: of the pipeline and its model."""
    pipeline = endless(name, name)
    engine = create_engine("simulated", {"model": name, "step_seconds": 0.015, "parallel": 512})
    chance = Random(requests)  # noqa: S311 — moments, not secrets
    async with Worker(engine, kafka, SETTINGS) as worker:
        process = PipelineProcess(pipeline.plan, roles_of(pipeline.plan), kafka, SETTINGS)
        async with process, Client(pipeline, kafka) as client:
            await _one(client, 0.0)  # what is made once is made
            tasks, rss = len(asyncio.all_tasks()), _rss_mb()
            places, codes, began = asyncio.Semaphore(OPEN_MAX), Counter[str](), time.monotonic()

            async def one(number: int, seconds: float) -> None:
                async with places:
                    codes[await _one(client, seconds)] += 1
                if number % TOLD_EVERY == TOLD_EVERY - 1:
                    say(f"{number + 1} cancelled, {_rss_mb():.0f} MB")

            pause = [chance.uniform(0, BEFORE_CANCEL_SECONDS) for _ in range(requests)]
            await asyncio.gather(*(one(number, seconds) for number, seconds in enumerate(pause)))
            took = time.monotonic() - began
            ends_at = time.monotonic() + FREED_SECONDS_MAX
            left = await _left(process, worker)
            while left and time.monotonic() < ends_at:
                await asyncio.sleep(0.2)  # what was closed a moment ago is being freed
                left = await _left(process, worker)
            result = {
                "requests": requests,
                "answers": dict(codes),
                "seconds": round(took, 1),
                "left": left,
                "tasks_more": max(0, len(asyncio.all_tasks()) - tasks),
                "rss_mb": {"before": round(rss, 1), "after": round(_rss_mb(), 1)},
            }
    faults = [f"left behind: {left}"] if left else []
    faults += [f"{result['tasks_more']} tasks more than before"] if result["tasks_more"] else []
    if codes["cancelled"] != requests:
        faults.append(f"answers to cancelled requests: {dict(codes)}")
    return result, faults


async def _one(client: Client, seconds: float) -> str:
    """The code of its answer."""
    handle = await client.submit(Subject(n=0))
    await asyncio.sleep(seconds)
    await handle.cancel()
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await handle.answer()
    except AnswerError as error:
        return error.code
    except TimeoutError:
        return "none"
    return "answered"


async def _left(process: PipelineProcess, worker: Worker) -> dict[str, int]:
    """What there is though no request is open, and how much of it."""
    gc.collect()
    kinds = Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing) in KINDS)
    load = await worker.engine.load()
    found = {
        **kinds,
        "generations": load.running + load.waiting,
        "kv_blocks": load.kv_blocks_total - load.kv_blocks_free,
        "prompts in load": worker.load.running + worker.load.waiting,
    }
    for lane in worker._owner.states:
        if isinstance(lane, LaneSlot):
            for what in ("_destinations", "_appended", "_ends", "_tasks", "_coalescers"):
                found[f"lane{what}"] = found.get(f"lane{what}", 0) + len(getattr(lane, what))
    for role in process._roles:
        for state in role.owner.states:
            if isinstance(state, StageSlot):
                found["runs"] = found.get("runs", 0) + len(state._tasks)
                found["marks"] = found.get("marks", 0) + len(state._slot.marks.newest())
    return {what: count for what, count in found.items() if count}


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096 / 2**20
