"""What every registered policy promises, whoever wrote it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.routing.strategies import prompt, router, state
from workers.routing import Choice, Heard, NoLaneError, Router, policies, policy
from workers.routing.policy import UnknownPolicyError

EVERY = sorted(policies())


def place(made: Router, name: str, blocks: tuple[int, ...], now: float) -> Choice:
    sent = prompt(name, blocks)
    choice = made.choose(sent, now)
    made.sent(sent, choice, now)
    return choice


@pytest.mark.parametrize("name", EVERY)
class TestEveryPolicy:
    def test_without_a_worker_there_is_no_lane(self, name: str) -> None:
        made = router(name, workers=0)
        with pytest.raises(NoLaneError, match="Start a worker"):
            made.choose(prompt(), 100.0)

    def test_a_worker_without_lanes_gets_nothing(self, name: str) -> None:
        made = router(name, workers=1)
        made.worker_state(state("w0", sequence=1, ts=100.01, lanes=()), 100.01)
        with pytest.raises(NoLaneError):
            made.choose(prompt(), 100.02)

    @given(data=st.data())
    @settings(max_examples=12, deadline=None)
    def test_the_lane_is_a_live_workers(self, name: str, data: st.DataObject) -> None:
        """Whatever is announced, sent and forgotten in between."""
        made, now = router(name, workers=4), 100.0
        heard = dict.fromkeys(("w0", "w1", "w2", "w3"), (1, 0))
        last = dict.fromkeys(heard, now)
        for step in range(data.draw(st.integers(1, 20))):
            now += data.draw(st.sampled_from((0.0, 0.03, 0.3)))
            match data.draw(st.sampled_from(("state", "restart", "leave", "prompt", "prompt", "finish", "expire"))):
                case "state" | "restart" | "leave" as what:
                    worker = data.draw(st.sampled_from(sorted(heard)))
                    epoch, sequence = heard[worker]
                    heard[worker] = (epoch + 1, 0) if what == "restart" else (epoch, sequence + 1)
                    fields: dict[str, Any] = {
                        "epoch": heard[worker][0],
                        "sequence": heard[worker][1],
                        "leaving": what == "leave",
                        "pend": data.draw(st.floats(0, 1e6)),
                        "running": data.draw(st.integers(0, 300)),
                        "waiting": data.draw(st.integers(0, 300)),
                        "share": data.draw(st.floats(0, 1)),
                        "added": data.draw(st.lists(st.integers(0, 12), unique=True)),
                    }
                    if made.worker_state(state(worker, ts=now, **fields), now) in {Heard.LEFT, Heard.IGNORED}:
                        last.pop(worker, None) if what == "leave" else None
                    else:
                        last[worker] = now
                case "expire":
                    made.expire(now)
                case "finish":
                    made.finished(f"p{step - 1}", now, output_tokens=5)
                case _:
                    made.expire(now)
                    live = {w for w, at in last.items() if now - at <= 1.0}
                    if not live:
                        with pytest.raises(NoLaneError):
                            made.choose(prompt(f"p{step}"), now)
                        continue
                    length = data.draw(st.integers(0, 12))
                    choice = place(made, f"p{step}", tuple(range(length)), now)
                    assert choice.worker in live
                    assert choice.lane in made.fleet.members[choice.worker].state.lanes
                    assert choice.epoch == heard[choice.worker][0]

    def test_same_input_and_chance_same_lane(self, name: str) -> None:
        first, second = router(name, workers=5, seed=3), router(name, workers=5, seed=3)
        for i in range(40):
            blocks = tuple(range(i % 4 * 10, i % 4 * 10 + 6))
            assert place(first, f"p{i}", blocks, 100.0 + i / 100) == place(second, f"p{i}", blocks, 100.0 + i / 100)

    def test_choosing_records_nothing(self, name: str) -> None:
        made = router(name, workers=4)
        made.choose(prompt("p", (1, 2, 3)), 100.0)
        assert len(made.sends) == 0
        assert not made.sends.blocks

    def test_a_silent_worker_is_forgotten_within_a_second(self, name: str) -> None:
        made = router(name, workers=2)
        sent = [place(made, f"p{i}", (i,), 100.0) for i in range(40)]
        assert {c.worker for c in sent} <= {"w0", "w1"}
        made.worker_state(state("w1", sequence=1, ts=101.0), 101.0)
        lost = made.expire(101.01)
        assert set(lost) == {f"p{i}" for i, c in enumerate(sent) if c.worker == "w0"}
        assert {place(made, f"q{i}", (i,), 101.02).worker for i in range(40)} == {"w1"}

    def test_a_joining_worker_is_used_at_once(self, name: str) -> None:
        made = router(name, workers=1)
        for i in range(10):
            place(made, f"p{i}", (i * 3, i * 3 + 1), 100.0 + i / 1_000)
        made.worker_state(state("w7", ts=100.05), 100.05)
        workers = [place(made, f"q{i}", (9_000 + i,), 100.06 + i / 1_000).worker for i in range(60)]
        assert "w7" in workers

    def test_a_new_epoch_forgets_blocks_and_sends(self, name: str) -> None:
        made = router(name, workers=1)
        made.worker_state(state("w0", sequence=1, ts=100.1, added=range(50)), 100.1)
        place(made, "p", tuple(range(60)), 100.2)
        assert made.worker_state(state("w0", epoch=2, ts=100.3), 100.3) is Heard.RESTARTED
        choice = made.choose(prompt("q", tuple(range(60))), 100.4)
        assert choice.epoch == 2
        assert choice.uncached == pytest.approx(60 * 32 + 10)
        assert made.expire(100.4) == ("p",)
        assert not made.sends.blocks
        assert len(made.sends) == 0

    def test_every_decision_says_why(self, name: str) -> None:
        choice = router(name, workers=3).choose(prompt("p", (1, 2)), 100.0)
        assert all(isinstance(value, float) for value in choice.terms.values())


def test_an_unknown_policy_names_those_there_are() -> None:
    with pytest.raises(UnknownPolicyError, match="descant"):
        policy("best_of_all")


def test_each_call_makes_a_fresh_policy() -> None:
    assert policy("sglang_cache_aware") is not policy("sglang_cache_aware")
