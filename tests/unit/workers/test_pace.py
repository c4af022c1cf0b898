"""How fast an engine is, told from outside: an engine with known constants is watched."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.routing import WorkerState
from workers.service.pace import Pace


def decode(pace: Pace, running: int, step: float, steps: int, now: float) -> float:
    for _ in range(steps):
        now += step
        for _ in range(running):
            pace.next_tokens(1, step, running, now)
    return now


def test_nothing_is_said_of_an_engine_that_has_done_nothing() -> None:
    pace = Pace()
    assert (pace.rate, pace.further, pace.step(3), pace.share(5.0)) == (0.0, 0.0, 0.0, 0.0)


def test_the_rate_is_that_of_prompts_one_after_another() -> None:
    pace, now = Pace(), 100.0
    for _ in range(30):
        pace.begun(now)
        pace.begun(now)  # two at once: the second's first token comes after the first's
        pace.first_token(500, now + 0.5)
        pace.first_token(300, now + 0.8)
        now += 10
    assert pace.rate == pytest.approx(1_000)


def test_prompts_of_one_step_are_not_counted_as_one_each() -> None:
    pace = Pace()
    for _ in range(8):
        pace.begun(100.0)
    for _ in range(8):
        pace.first_token(250, 100.1)
    assert pace.rate == pytest.approx(8 * 250 / 0.1, rel=0.25)


def test_a_step_grows_with_those_who_run_where_it_does() -> None:
    rng, pace, now = random.Random(1), Pace(), 100.0  # noqa: S311
    for _ in range(60):
        running = rng.randint(1, 4)
        now = decode(pace, running, 0.004 + 0.017 * running, 10, now)
    assert pace.further == pytest.approx(0.017, rel=0.4)
    assert pace.step(2) == pytest.approx(0.038, rel=0.15)


def test_a_step_that_does_not_grow_is_not_said_to() -> None:
    rng, pace, now = random.Random(1), Pace(), 100.0  # noqa: S311
    for _ in range(60):
        now = decode(pace, rng.randint(1, 60), 0.01 * rng.uniform(0.9, 1.1), 10, now)
    assert pace.further < 1e-4
    assert pace.step(30) == pytest.approx(0.01, rel=0.1)


def test_one_number_of_running_prompts_says_nothing_of_another() -> None:
    pace = Pace()
    decode(pace, 4, 0.07, 100, 100.0)
    assert pace.further == 0.0
    assert pace.step(1) == pytest.approx(0.07)


def test_steps_beside_a_prefill_do_not_count_as_decoding() -> None:
    pace = Pace()
    now = decode(pace, 2, 0.01, 20, 100.0)
    pace.begun(now)
    decode(pace, 2, 0.5, 5, now)
    pace.first_token(4_000, now + 2.5)
    pace.next_tokens(1, 0.5, 2, now + 2.6)  # its step began before the prefill was over
    assert pace.step(2) == pytest.approx(0.01)
    assert pace.share(now + 2.5) == 1.0
    assert pace.share(now + 12.5) < 0.01


def test_a_prompt_that_never_had_a_token_does_not_prefill_for_ever() -> None:
    pace = Pace()
    pace.begun(100.0)
    pace.ended(101.0, has_token=False)
    decode(pace, 1, 0.01, 5, 101.0)
    assert pace.step(1) == pytest.approx(0.01)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 12), st.integers(1, 3), st.sampled_from((1, 2, 3))), min_size=3),
    st.floats(1e-6, 1e-2),
)
def test_whatever_was_seen_can_be_announced(seen: list[tuple[bool, int, int, int]], unit: float) -> None:
    """Rounding once made the step of an idle worker negative, and its own announcement ended the worker."""
    pace, now = Pace(), 1_000.0
    for is_prompt, running, tokens, power in seen:
        seconds = unit * running**power
        now += seconds
        if is_prompt:
            pace.begun(now)
            pace.first_token(tokens * 1e6, now)
        pace.next_tokens(tokens, seconds, running, now)
        for number in (0, running):
            said = {"further": pace.further, "share": pace.share(now), "base": pace.step(number)}
            WorkerState(worker="w", epoch=1, sequence=0, model="m", lanes=(0,), ts=now, rate=pace.rate or 1.0, **said)
