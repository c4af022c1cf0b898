"""The simulated engine: its clock, its salt, its death."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from workers.engines.protocol import Generation, Sampling
from workers.engines.simulated import RUN_SALT, SimulatedEngine
from workers.errors import EngineDeadError
from workers.settings import SimulatedSettings


class StepClock:
    """Time passes only by being slept through."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def sleep_until(self, when: float) -> None:
        await asyncio.sleep(0)
        self.time = max(self.time, when)


async def text_of(engine: SimulatedEngine, **sampling: object) -> str:
    wanted = Generation("g", "some prompt", Sampling(max_tokens=8, **sampling))  # type: ignore[arg-type]
    async with aclosing(engine.generate(wanted)) as chunks:
        return "".join([chunk.text async for chunk in chunks])


async def test_time_is_that_of_the_steps() -> None:
    clock = StepClock()
    engine = SimulatedEngine(SimulatedSettings(), clock)
    await engine.start()
    prompt = " ".join(["word"] * 1000)
    async with aclosing(engine.generate(Generation("a", prompt, Sampling(max_tokens=11)))) as chunks:
        await anext(chunks)
        assert clock.time == pytest.approx(7e-3 + 1000 * 35e-6)
        assert sum([1 async for _ in chunks]) == 10
    decode = 7e-3 + 30e-6 + 55e-9 * 1006
    assert clock.time == pytest.approx(7e-3 + 1000 * 35e-6 + 10 * decode, rel=1e-3)
    await engine.close()


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [({}, {}, True), ({"salt": "a"}, {"salt": "a"}, True), ({"salt": "a"}, {"salt": "b"}, False)],
)
async def test_the_salt_decides_whether_a_rerun_writes_the_same(
    first: dict[str, str], second: dict[str, str], same: bool
) -> None:
    texts = []
    for salt in (first, second):
        engine = SimulatedEngine(SimulatedSettings(**salt), StepClock())  # type: ignore[arg-type]
        await engine.start()
        texts.append(await text_of(engine))
        await engine.close()
    assert (texts[0] == texts[1]) == same


async def test_the_salt_of_this_run_is_drawn() -> None:
    texts = []
    for salt in ("run", RUN_SALT, ""):
        engine = SimulatedEngine(SimulatedSettings(salt=salt), StepClock())
        await engine.start()
        texts.append(await text_of(engine))
        await engine.close()
    assert texts[0] == texts[1] != texts[2]


async def test_seeds_choose_the_text_when_it_is_sampled() -> None:
    engine = SimulatedEngine(SimulatedSettings(), StepClock())
    await engine.start()
    assert await text_of(engine, temperature=1.0, seed=1) == await text_of(engine, temperature=1.0, seed=1)
    assert await text_of(engine, temperature=1.0, seed=1) != await text_of(engine, temperature=1.0, seed=2)
    assert await text_of(engine, temperature=1.0) != await text_of(engine, temperature=1.0)
    await engine.close()


async def test_closing_the_engine_ends_what_runs_with_a_dead_engine() -> None:
    engine = SimulatedEngine(SimulatedSettings())
    await engine.start()
    async with aclosing(engine.generate(Generation("a", "p", Sampling(max_tokens=10_000)))) as chunks:
        await anext(chunks)
        await engine.close()
        with pytest.raises(EngineDeadError):
            async for _ in chunks:
                pass
    with pytest.raises(EngineDeadError):
        await text_of(engine)
