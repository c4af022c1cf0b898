"""The tests of the tests: each flaw, put back, is found within the histories that CI draws anyway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from random import Random

import pytest

from tests.simulation.checker import Violation, check
from tests.simulation.flaws import DIRECTED, FLAWS, Flaw, search
from tests.simulation.history import History, Schedule
from tests.simulation.profiles import HISTORIES
from tests.simulation.rules import KEPT
from tests.simulation.schedules import draw, mishap
from tests.simulation.simulation import simulate

BUDGET = HISTORIES["ci"]

COVERED = tuple(flaw for flaw in DIRECTED if flaw.number != "9")
"""Flaws that cannot show as long as slots replay first; see DIRECTED."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("flaw", [*FLAWS, *DIRECTED], ids=str)
def test_the_flaw_is_found(flaw: Flaw) -> None:
    _, violation = search(flaw, BUDGET)
    assert violation is not None, f"{BUDGET} histories do not show: {flaw.text}"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("flaw", COVERED, ids=str)
def test_a_covered_flaw_needs_the_flaw_that_takes_its_cover(flaw: Flaw) -> None:
    for half in (replace(flaw, rules=KEPT), replace(flaw, patched=nullcontext)):
        assert search(half, BUDGET // 5) == (None, None)


def _written(flaw: Flaw) -> Iterator[tuple[History, list[Violation]]]:
    """The flaw's own history, with twenty ways to fill in what it does not say."""
    for seed in range(20):
        history = simulate(Schedule(ops=flaw.ops, lanes=1), seed, flaw.rules, flaw.script)
        yield history, check(history)


@pytest.mark.parametrize("flaw", DIRECTED, ids=str)
def test_the_written_history_breaks_with_the_flaw_and_not_without(flaw: Flaw) -> None:
    with flaw.patched():
        played = [bool(violations) for history, violations in _written(flaw) if not history.missed]
    # Not each of them: what is not written down may heal it, a stage further down that also runs early, say.
    assert sum(played) > len(played) * 0.8, f"{sum(played)} of {len(played)} break"
    assert len(played) >= 5, "the history as it is written hardly ever comes about"

    for history, violations in _written(replace(flaw, rules=KEPT, patched=nullcontext)):
        assert history.missed, "the moment that only the flaw brings about came without it"
        assert not violations, "\n".join([*map(str, violations), history.around()])


@pytest.mark.parametrize("flaw", COVERED, ids=str)
def test_the_written_history_of_a_covered_flaw_breaks_with_neither_half(flaw: Flaw) -> None:
    with flaw.patched():
        assert not any(violations for _, violations in _written(replace(flaw, rules=KEPT)))
    moments = [(history.missed, violations) for history, violations in _written(replace(flaw, patched=nullcontext))]
    assert not any(violations for _, violations in moments)
    assert all(not missed for missed, _ in moments), "here the whole history comes about, and the order of runs holds"


def test_added_partitions_stop_what_is_restarted_and_break_nothing() -> None:
    for seed in range(150):
        history = simulate(mishap(Random(seed), 0), seed)  # noqa: S311 - a schedule, not a secret
        assert not check(history), f"seed {seed}"
        assert history.world.refusals, f"seed {seed}: somebody started with another partition count"
        assert all("partitions, the settings say" in why for _, why in history.world.refusals)


def test_records_that_are_gone_stop_their_reader_and_are_not_skipped() -> None:
    refused = 0
    for seed in range(150):
        history = simulate(mishap(Random(seed), 1), seed)  # noqa: S311 - same
        assert not check(history), f"seed {seed}\n{history.around()}"  # without a refusal, every request is answered
        refused += bool(history.world.refusals)
    assert refused > 30, f"{refused} of 150: the deleted records were seldom needed"


def test_no_flaw_is_left_behind() -> None:
    for flaw in (*FLAWS, *DIRECTED):
        with flaw.patched():
            pass
    assert not check(simulate(draw(Random(0)), 0))  # noqa: S311 - same
