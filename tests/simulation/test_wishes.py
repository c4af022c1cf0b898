"""The six invariants where somebody outside the flow asks for further runs at any time, also of what is outdated."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.simulation.checker import check
from tests.simulation.history import Ask, Schedule
from tests.simulation.pipelines import Op
from tests.simulation.profiles import histories
from tests.simulation.schedules import draw, schedules, seeds
from tests.simulation.simulation import simulate

WISHES = st.integers(1, 12)


@pytest.mark.timeout(3_600)
@histories
@given(schedule=schedules, seed=seeds, wishes=WISHES)
@example(schedule=Schedule(ops=(Op(3), Op(1), Op(0), Op(3, 0, 2), Op(0, 0, 2)), asks=(Ask(0),)), seed=1, wishes=8)
def test_every_history_with_wishes_keeps_the_invariants(schedule: Schedule, seed: int, wishes: int) -> None:
    history = simulate(replace(schedule, wishes=wishes), seed)
    violations = check(history)
    assert not violations, "\n".join(
        [f"seed {seed}, wishes {wishes}", *map(str, violations), history.around(violations[0].step, lines=60)]
    )


def test_wishes_are_heeded() -> None:
    """Or else the search above proves nothing about them."""
    found: Counter[str] = Counter()
    for seed in range(100):
        history = simulate(replace(draw(Random(seed)), wishes=10, late=400), seed)  # noqa: S311 - a schedule
        found.update(history.world.counts)
        given = [r.envelope for log in history.world.broker.logs.values() for r in log.records]
        found["heeded"] += sum(e is not None and bool(e.revisions) for e in given)
    assert found["somebody asks for another run"] > 200
    assert found["heeded"] > 200
