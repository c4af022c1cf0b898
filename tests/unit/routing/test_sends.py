"""Own sends: what counts until a worker has announced it, and for how long."""

from __future__ import annotations

import pytest

from tests.unit.routing.strategies import prompt, router, state
from workers.routing import Router
from workers.routing.sends import OPEN_SECONDS_MAX, TTL_SECONDS


def send(made: Router, name: str, blocks: tuple[int, ...], now: float) -> int:
    sent = prompt(name, blocks)
    choice = made.choose(sent, now)
    made.sent(sent, choice, now)
    return made.fleet.members[choice.worker].slot


def test_a_send_counts_until_the_worker_has_spoken_since() -> None:
    made = router(workers=1)
    send(made, "p", (1, 2), 100.1)
    assert made.sends.fresh_tokens[0] == pytest.approx(74)
    made.worker_state(state("w0", sequence=1, ts=100.05), 100.15)
    made.choose(prompt("x"), 100.16)
    assert made.sends.fresh_tokens[0] == pytest.approx(74)
    made.worker_state(state("w0", sequence=2, ts=100.11), 100.17)
    made.choose(prompt("x"), 100.18)
    assert made.sends.fresh_tokens[0] == 0
    assert made.sends.fresh[0] == 0


def test_a_first_token_ends_its_waiting() -> None:
    made = router(workers=1)
    send(made, "p", (1, 2), 100.1)
    made.first_token("p", 100.2)
    made.first_token("p", 100.2)
    assert made.sends.fresh_tokens[0] == pytest.approx(0)
    assert made.sends.open[0] == 1
    made.finished("p", 100.3, output_tokens=9)
    assert made.sends.open[0] == 0
    assert made.sends.open_context[0] == pytest.approx(0)


def test_sent_blocks_count_as_held_for_two_seconds() -> None:
    made = router(workers=1)
    send(made, "p", (1, 2, 3), 100.1)
    assert made.choose(prompt("q", (1, 2, 3, 4)), 100.2).uncached == pytest.approx(42)
    made.worker_state(state("w0", sequence=1, ts=101.0), 101.0)
    made.worker_state(state("w0", sequence=2, ts=101.9), 101.9)
    later = 100.1 + TTL_SECONDS + 0.01
    assert made.choose(prompt("q", (1, 2, 3, 4)), later).uncached == pytest.approx(138)
    assert made.sends.blocks == {}


def test_a_block_sent_twice_lives_as_long_as_the_second() -> None:
    made = router(workers=1)
    send(made, "p", (1, 2), 100.1)
    made.worker_state(state("w0", sequence=1, ts=101.0), 101.0)
    send(made, "q", (1, 2, 3), 101.5)
    made.worker_state(state("w0", sequence=2, ts=101.9), 101.9)
    assert made.choose(prompt("r", (1, 2, 3)), 102.5).uncached == pytest.approx(10)


def test_a_prompt_sent_again_counts_once() -> None:
    made = router(workers=2)
    send(made, "p", (1,), 100.1)
    send(made, "p", (1,), 100.2)
    assert sum(made.sends.open) == 1
    assert len(made.sends) == 1


def test_a_choice_of_an_earlier_epoch_is_not_recorded() -> None:
    made = router(workers=1)
    old = made.choose(prompt("p"), 100.1)
    made.worker_state(state("w0", epoch=2, ts=100.2), 100.2)
    made.sent(prompt("p"), old, 100.3)
    assert len(made.sends) == 0


def test_prompts_whose_end_nobody_reports_are_let_go() -> None:
    made = router("least_requests", workers=1)
    send(made, "p", (), 100.1)
    later = 100.1 + OPEN_SECONDS_MAX + 1
    made.worker_state(state("w0", sequence=1, ts=later), later)
    made.choose(prompt("q"), later)
    assert len(made.sends) == 0
