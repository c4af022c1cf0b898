"""The search is not vacuous: everything that can go wrong does, in the histories that are drawn first."""

from __future__ import annotations

from collections import Counter
from random import Random

from tests.simulation.census import SITUATIONS, take
from tests.simulation.checker import check
from tests.simulation.schedules import draw
from tests.simulation.simulation import simulate

HISTORIES = 1_000


def test_every_situation_comes_about() -> None:
    found: Counter[str] = Counter()
    for seed in range(HISTORIES):
        history = simulate(draw(Random(seed)), seed)  # noqa: S311 - a schedule, not a secret
        assert not check(history), f"python -m tests.simulation --play {seed}"
        found.update(take(history))
    print(*(f"{found[name]:8d}  {name}" for name in SITUATIONS), sep="\n")  # noqa: T201 - pytest -s shows it
    assert [name for name in SITUATIONS if not found[name]] == []
    assert set(found) <= set(SITUATIONS), "counted, and not in the list"
