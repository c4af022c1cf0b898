"""The six invariants of DESIGN §4 over generated pipelines, requests and faults."""

from __future__ import annotations

import pytest
from hypothesis import example, given

from tests.simulation.checker import check
from tests.simulation.history import Ask, Fault, Schedule
from tests.simulation.pipelines import Op
from tests.simulation.profiles import histories
from tests.simulation.schedules import schedules, seeds
from tests.simulation.simulation import simulate

MODEL, FORK, MAP, JOIN = Op(3), Op(1), Op(0), Op(2)

FACTCHECK = Schedule(ops=(MODEL, FORK, MAP, Op(3, 0, 2), Op(0, 0, 2)), asks=(Ask(0), Ask(1)))
"""draft -> claims -> evidence, verify, verdict -> report: the shape of the main example."""


REPEATED = Schedule(
    ops=(MAP,),
    asks=(Ask(0, 3), Ask(1), Ask(0), Ask(0)),
    faults=(Fault(0, 0, 0, 0, 7), Fault(0, 1, 1)),
    window=1,
    lag=40,
)
"""An id, another, and the first again: the window has room for one."""


@pytest.mark.timeout(3_600)
@histories
@given(schedule=schedules, seed=seeds)
@example(schedule=FACTCHECK, seed=1)
@example(schedule=Schedule(ops=(FORK, MAP, MAP, Op(4, 1), MAP)), seed=0)  # refused as a whole, and built with less
@example(schedule=Schedule(ops=(Op(1, second=1), Op(4), Op(2, 1)), asks=(Ask(0),)), seed=53)
@example(schedule=Schedule(asks=(Ask(2, 1), Ask(-1), Ask(1)), room=1), seed=43)
@example(schedule=Schedule(ops=(MAP,), asks=(Ask(0, 2), Ask(0, 2)), faults=(Fault(32, 3, 2),)), seed=589)
@example(schedule=REPEATED, seed=1669)  # answered again: pushed out of the window by an answer that was aborted
@example(schedule=REPEATED, seed=1354)  # never closed: pushed out before its repetition was committed
def test_every_history_keeps_the_invariants(schedule: Schedule, seed: int) -> None:
    history = simulate(schedule, seed)
    violations = check(history)
    assert not violations, "\n".join(
        [f"seed {seed}", *map(str, violations), history.around(violations[0].step, lines=60)]
    )


def test_the_same_seed_gives_the_same_history() -> None:
    schedule = Schedule(ops=(MODEL, FORK, JOIN), asks=(Ask(0), Ask(1)), faults=(Fault(30, 0, 3), Fault(20, 1, 9)))
    assert simulate(schedule, 7).around() == simulate(schedule, 7).around()


def test_histories_without_faults_answer_with_values() -> None:
    for seed in range(20):
        history = simulate(FACTCHECK, seed)
        answers = [r.envelope for _, r in history.world.broker.log("p.answers", 0).committed()]
        assert [a.kind for a in answers if a is not None] == ["item", "item"], f"seed {seed}\n{history.around()}"
