"""The terms of our policy, one at a time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.routing.strategies import prompt, router, state
from workers.routing import Fork, Router, kappa
from workers.routing.descant import OUTPUT_TOKENS_AT_FIRST, DescantPolicy


def announce(made: Router, worker: str, now: float = 100.1, **fields: Any) -> None:
    made.worker_state(state(worker, sequence=1, ts=now, **fields), now)


def test_the_cached_prefix_wins_between_equals() -> None:
    made = router(workers=3)
    announce(made, "w1", added=range(40))
    assert made.choose(prompt("p", tuple(range(60))), 100.1).worker == "w1"


def test_a_long_queue_beats_a_short_prefix() -> None:
    made = router(workers=2)
    announce(made, "w1", added=range(4), pend=50_000.0)
    assert made.choose(prompt("p", tuple(range(10))), 100.1).worker == "w0"


def test_a_queue_shrinks_while_nothing_is_heard() -> None:
    made = router(workers=1)
    announce(made, "w0", pend=10_000.0, rate=20_000.0)
    assert made.choose(prompt("p"), 100.35).terms["wait_seconds"] == pytest.approx(0.25)


def test_a_prefill_avoids_those_who_decode() -> None:
    made = router(workers=2)
    announce(made, "w0", running=60)
    announce(made, "w1", running=10)
    assert made.choose(prompt("p", tuple(range(60))), 100.1).worker == "w1"


def test_slow_steps_are_avoided() -> None:
    made = router(workers=2)
    announce(made, "w0", base=0.02)
    assert made.choose(prompt("p"), 100.1).worker == "w1"


def test_equal_text_goes_to_one_worker_whoever_routes() -> None:
    first, second = router(workers=8, seed=1), router(workers=8, seed=2)
    chosen = [
        (
            first.choose(prompt(f"p{i}", (i, i + 1)), 100.1).worker,
            second.choose(prompt(f"q{i}", (i, i + 1)), 100.1).worker,
        )
        for i in range(50)
    ]
    assert all(a == b for a, b in chosen)
    assert len({a for a, _ in chosen}) > 4


def test_own_sends_count_for_all_routers() -> None:
    made = Router(router(workers=2).fleet, DescantPolicy(), _Never(), instances=6)
    first = prompt("p", tuple(range(10)))
    choice = made.choose(first, 100.1)
    made.sent(first, choice, 100.1)
    assert made.choose(prompt("q", tuple(range(20, 30))), 100.1).worker != choice.worker
    slot = made.fleet.members[choice.worker].slot
    assert made.sends.pending_tokens()[slot] == pytest.approx(6 * first.tokens)


class _Never:
    def random(self) -> float:
        raise AssertionError("the policy needs no chance")


def test_the_expected_output_is_learnt_else_announced_else_assumed() -> None:
    made = router(workers=1)
    assert isinstance(made.policy, DescantPolicy)
    asked = prompt("p")
    assert made.policy.expected_output(asked, made.fleet) == OUTPUT_TOKENS_AT_FIRST
    announce(made, "w0", outputs={"ask": 40.0})
    assert made.policy.expected_output(asked, made.fleet) == 40.0
    made.sent(asked, made.choose(asked, 100.1), 100.1)
    made.finished("p", 100.2, output_tokens=10)
    assert made.policy.expected_output(asked, made.fleet) == 10.0


@given(
    size=st.none() | st.integers(1, 1_000),
    siblings=st.integers(0, 1_000),
    unfinished=st.integers(0, 1_000),
    mean=st.floats(0, 1_000),
)
def test_kappa_is_a_chance(size: int | None, siblings: int, unfinished: int, mean: float) -> None:
    assert 0 < kappa(Fork(size, siblings, unfinished, mean)) <= 1


def test_kappa_by_the_state_of_the_fork() -> None:
    assert kappa(None) == 1
    assert kappa(Fork(None, 3, 0, 8.0)) == pytest.approx(0.5 / 8)
    assert kappa(Fork(None, 12, 0, 8.0)) == pytest.approx(0.5 / 12)
    assert kappa(Fork(10, 10, 8, 8.0)) == pytest.approx(0.25)
    assert kappa(Fork(10, 10, 1, 8.0)) == 1


def test_the_choice_says_what_decided() -> None:
    one = router(workers=1)
    assert one.choose(prompt("p"), 100.1).reason == "only"
    made = router(workers=2)
    assert made.choose(prompt("p"), 100.1).reason == "tie"
    announce(made, "w1", added=range(40))
    assert made.choose(prompt("p", tuple(range(60))), 100.1).reason == "prefix"
    made = router(workers=2)
    announce(made, "w0", pend=50_000.0)
    assert made.choose(prompt("p"), 100.1).reason == "wait"
    made = router(workers=2)
    announce(made, "w0", base=0.02)
    assert made.choose(prompt("p"), 100.1).reason == "decode"
    made = router(workers=2)
    announce(made, "w0", running=60)
    assert made.choose(prompt("p", tuple(range(60))), 100.1).reason == "others"


def test_where_prompts_slow_each_other_down_a_prompt_goes_where_fewer_decode() -> None:
    made = router(workers=2)
    announce(made, "w0", running=3, base=0.06, further=0.017, places=4, added=range(9))
    announce(made, "w1", running=1, base=0.021, further=0.017, places=4)
    asked = prompt("p", tuple(range(9)))  # 298 tokens, at the default rate 15 ms
    assert made.choose(asked, 100.1).worker == "w1"


def test_a_prompt_beyond_the_places_of_a_worker_waits_for_one() -> None:
    made = router(workers=2)
    announce(made, "w0", running=4, base=0.072, further=0.017, places=4, outputs={"ask": 50.0})
    announce(made, "w1", running=3, base=0.055, further=0.017, places=4, outputs={"ask": 50.0})
    choice = made.choose(prompt("p"), 100.1)
    assert choice.worker == "w1"
    assert choice.terms["wait_seconds"] == 0.0


def test_next_to_nothing_a_prompt_is_not_counted() -> None:
    plain, crowded = router(workers=2), router(workers=2)
    announce(crowded, "w0", running=30, further=0.0002, places=256)
    announce(plain, "w0", running=30)
    asked = prompt("p", tuple(range(9)))
    assert plain.choose(asked, 100.1).terms == crowded.choose(asked, 100.1).terms
