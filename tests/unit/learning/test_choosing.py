"""Rounds over a pool whose examples come and go."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from learning.choosing import Flagged, Pool, requests, taught
from learning.errors import SelectionError
from learning.select import State

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CLASSES = ("x", "y")


def pool(first: int, count: int) -> Pool:
    """Every fourth example is flagged by `good`, which is always right; the next by `bad`, which never is."""
    return Pool(
        [
            Flagged(
                f"e{i}", {"n": i}, {"good": 1.0} if i % 4 == 0 else {"bad": 1.0} if i % 4 == 1 else {}, (f"f{i}",), "x"
            )
            for i in range(first, first + count)
        ],
        ("good", "bad"),
    )


def truth(name: str) -> str:
    return "y" if int(name[1:]) % 4 == 0 else "x"


def test_rounds_over_a_moving_pool_learn_and_never_ask_twice() -> None:
    rng, state = np.random.default_rng(0), None
    asked: set[str] = set()
    found: list[float] = []
    for step in range(5):
        here = pool(step * 100, 300)
        batch = requests(
            here, model="m", classes=CLASSES, budget=20, state=state, rng=rng, now=NOON, asked=asked, number=step + 1
        )
        assert len(batch) == 20
        assert not asked & {r.id for r in batch}
        assert {r.round for r in batch} == {step + 1}
        assert all(r.flags == (f"f{r.id[1:]}",) and r.selector == "error-seeking" for r in batch)
        asked |= {r.id for r in batch}
        state = taught(here, {r.id: truth(r.id) for r in batch}, state)
        found.append(float(np.mean([truth(r.id) == "y" for r in batch])))
    assert found[-1] > 0.8, found


def test_nothing_to_ask_is_no_request() -> None:
    state: State | None = None
    given = {
        "model": "m",
        "classes": CLASSES,
        "budget": 5,
        "state": state,
        "rng": np.random.default_rng(0),
        "now": NOON,
    }
    assert requests(Pool([], ("good",)), **given) == []  # type: ignore[arg-type]
    here = pool(0, 3)
    assert requests(here, **given, asked={"e0", "e1", "e2"}) == []  # type: ignore[arg-type]


def test_an_assertion_that_the_pool_does_not_know_is_told() -> None:
    with pytest.raises(SelectionError, match="'new'"):
        _ = Pool([Flagged("e", None, {"new": 1.0})], ("good",)).severities
