"""The tests of the tests: each flaw, put back, is found within the histories that CI draws anyway."""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.checker import check
from tests.simulation.flaws import FLAWS, Flaw
from tests.simulation.profiles import HISTORIES
from tests.simulation.schedules import draw
from tests.simulation.simulation import simulate

BUDGET = HISTORIES["ci"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("flaw", FLAWS, ids=str)
def test_the_flaw_is_found(flaw: Flaw) -> None:
    with flaw.patched():
        for seed in range(BUDGET):
            if check(simulate(flaw.schedule(Random(seed)), seed, flaw.rules)):  # noqa: S311 - a schedule, not a secret
                return
    pytest.fail(f"{BUDGET} histories do not show: {flaw.text}")


def test_no_flaw_is_left_behind() -> None:
    for flaw in FLAWS:
        with flaw.patched():
            pass
    assert not check(simulate(draw(Random(0)), 0))  # noqa: S311 - same
