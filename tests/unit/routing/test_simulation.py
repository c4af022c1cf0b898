"""The engine model against arithmetic, and whole runs against what cannot be otherwise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.routing.engine import SimulatedWorker
from benchmarks.routing.hardware import Hardware
from benchmarks.routing.simulation import Fault, Setup, Simulation, quantile
from benchmarks.routing.trace import Spec, Trace, compiled
from benchmarks.routing.workloads import WORKLOADS
from workers.routing import policies, policy

H = Hardware()


def calls(*prompts: tuple[str, int, int]) -> Trace:
    """(content, tokens, output) each."""
    return compiled(
        [Spec(t=0.0, root=i, id=0, stage="s", segs=((c, n),), out=out) for i, (c, n, out) in enumerate(prompts)]
    )


def drain(worker: SimulatedWorker) -> dict[int, float]:
    """Runs to the end; when each call finished."""
    ends = {}
    while worker.due < math.inf:
        now = worker.due
        for sequence in worker.advance(now).finished:
            ends[sequence.call.index] = now
    return ends


def test_one_prompt_takes_what_the_constants_say() -> None:
    trace, worker = calls(("a", 1_000, 10)), SimulatedWorker(H)
    worker.arrive(trace.calls[0], 0.0, 1.0, 0.0)
    decode = sum(H.overhead + H.decode + H.context * (1_001 + i) for i in range(9))
    assert drain(worker)[0] == pytest.approx(H.overhead + 1_000 * H.prefill + decode)
    assert worker.private == 0
    assert worker.context == 0
    assert worker.pending == 0
    assert worker.kappa == 0


def test_a_second_prompt_computes_only_what_is_new() -> None:
    trace, worker = calls(("a", 1_000, 2), ("a", 1_000, 2)), SimulatedWorker(H)
    worker.arrive(trace.calls[0], 0.0, 1.0, 0.0)
    drain(worker)
    worker.arrive(trace.calls[1], 0.0, 1.0, 10.0)
    took = drain(worker)[1] - 10.0
    assert worker.hits == 992
    assert took == pytest.approx(2 * H.overhead + 8 * H.prefill + H.decode + H.context * 1_001)


def test_steps_taken_many_at_a_time_end_where_single_steps_do() -> None:
    """An arrival cuts a long run of steps at the end of the one under way."""
    trace, worker = calls(("a", 100, 50), ("b", 100, 1)), SimulatedWorker(H)
    worker.arrive(trace.calls[0], 0.0, 1.0, 0.0)
    worker.advance(worker.due)
    begun, ends = worker.due, [H.overhead + 100 * H.prefill]
    for i in range(49):
        ends.append(ends[-1] + H.overhead + H.decode + H.context * (101 + i))
    assert begun == pytest.approx(ends[-1])
    worker.arrive(trace.calls[1], 0.0, 1.0, (ends[7] + ends[8]) / 2)
    assert worker.due == pytest.approx(ends[8])
    finished = drain(worker)
    assert finished[0] == pytest.approx(ends[-1] + 100 * H.prefill, abs=1e-4)


@given(
    prompts=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 900), st.integers(1, 200), st.floats(0, 3)),
        min_size=1,
        max_size=12,
    )
)
@settings(deadline=None, max_examples=60)
def test_whatever_comes_everything_ends_and_nothing_is_held(prompts: list[tuple[str, int, int, float]]) -> None:
    """Also with so little room that sequences are preempted."""
    small = replace(H, kv_tokens=2_048, step_tokens=256, sequences=4)
    trace, worker = calls(*((c, n, out) for c, n, out, _ in prompts)), SimulatedWorker(small)
    todo, ended, now = sorted((at, i) for i, (*_, at) in enumerate(prompts)), set(), 0.0
    while todo or worker.due < math.inf:
        if todo and todo[0][0] <= worker.due:
            now, index = todo.pop(0)
            worker.arrive(trace.calls[index], now, 0.5, now)
        else:
            now = worker.due
            ended |= {s.call.index for s in worker.advance(now).finished}
    assert ended == set(range(len(prompts)))
    assert worker.private == worker.context == 0
    assert worker.pending == pytest.approx(0)
    assert worker.kappa == pytest.approx(0)
    assert set(worker.idle) == {b for b, count in worker.refs.items() if count == 0} == set(worker.refs)
    assert len(worker.refs) * small.block <= small.kv_tokens + small.block


@pytest.mark.parametrize("name", sorted(policies()))
def test_every_policy_finishes_a_pipeline_in_which_a_worker_dies(name: str) -> None:
    setup = Setup(workers=3, routers=2, faults=(Fault(worker=1, dies=1.0, returns=3.0),))
    trace = WORKLOADS["pipeline/low"].trace(5, shorter=0.1)
    result = Simulation(trace, setup, lambda: policy(name), 5, warm=0.0).run()
    assert result.unfinished == 0
    assert len(result.requests) == len(trace.roots)
    assert min(result.requests) > 0


def test_with_nobody_alive_prompts_wait_for_the_return() -> None:
    setup = Setup(workers=1, routers=1, faults=(Fault(worker=0, dies=0.5, returns=4.0),))
    result = Simulation(
        WORKLOADS["mix/mid"].trace(1, shorter=0.04), setup, lambda: policy("descant"), 1, warm=0.0
    ).run()
    assert result.unfinished == 0
    assert max(result.requests) > 2.0


def test_the_same_seed_gives_the_same_run() -> None:
    trace = WORKLOADS["tenants/mid"].trace(3, shorter=0.05)
    first, second = (Simulation(trace, Setup(), lambda: policy("descant"), 3).run() for _ in range(2))
    assert first == second


@given(values=st.lists(st.floats(0, 1e6), min_size=1), q=st.floats(0, 1))
def test_a_quantile_lies_between_its_neighbours(values: list[float], q: float) -> None:
    assert min(values) <= quantile(values, q) <= max(values)


@pytest.mark.parametrize("at", [1, 9, 10, 99])
def test_what_the_last_token_triggers_is_triggered(at: int) -> None:
    first = Spec(t=0.0, root=0, id="a", stage="s", segs=(("a", 100),), out=10, at_token=((at, "b"),))
    second = Spec(t=0.0, root=0, id="b", stage="s", segs=(("b", 100),), out=3, needs=1)
    result = Simulation(compiled([first, second]), Setup(workers=2), lambda: policy("round_robin"), 1, warm=0.0).run()
    assert (len(result.requests), result.unfinished) == (1, 0)


def test_prompts_of_one_step_share_the_blocks_that_are_being_computed() -> None:
    trace, together = calls(("a", 1_000, 2), ("a", 1_000, 2)), SimulatedWorker(replace(H, overhead=1.0))
    blocker = compiled([Spec(t=0.0, root=0, id=0, stage="s", segs=(("z", 10),), out=3)]).calls[0]
    together.arrive(blocker, 0.0, 1.0, 0.0)
    for call in trace.calls:
        together.arrive(call, 0.0, 1.0, 0.1)  # both wait for the step under way, and begin in the next
    drain(together)
    assert together.hits == 992
