"""What a history is drawn from: by Hypothesis, which shrinks it, or by a plain generator, which is fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from hypothesis import strategies as st

from tests.simulation.history import FAULTS, WHENS, Accident, Ask, Fault, Schedule
from tests.simulation.pipelines import HABITS, Op

SHAPES = (
    (Op(1), Op(0), Op(2), Op(2, 1), Op(0, 0, 3)),  # two joins of one map meet
    (Op(1), Op(3), Op(0), Op(2), Op(2, 1, 3)),  # a text, summed up twice
    (Op(3), Op(1), Op(0), Op(3, 0, 2), Op(0, 0, 2)),  # the fact checker
    (Op(1), Op(0), Op(4), Op(2, 1), Op(2, 1, 4)),  # a join that forks, beside a join
    (Op(1), Op(1), Op(0), Op(2), Op(2)),  # nested forks, joined one by one
    (Op(3), Op(3)),  # a text prompts a text
)
"""What chance seldom builds."""

# Simple first: Hypothesis shrinks towards the left, and most stages of most pipelines have no bad habits.
_ops = st.builds(
    Op,
    kind=st.integers(0, 4),
    first=st.sampled_from((0, 0, 0, 1, 2)),
    second=st.integers(0, 3),
    habits=st.one_of(st.just(0), st.just(0), st.integers(0, HABITS - 1)),
    on_error=st.one_of(st.just(0), st.integers(0, 3)),
)
_lasts = st.builds(Op, kind=st.sampled_from((0, 3)), first=st.integers(0, 1), on_error=st.integers(0, 3))
_asks = st.builds(Ask, id=st.sampled_from((0, 1, 2, -1)), kind=st.sampled_from((0, 0, 0, 0, 0, 1, 2, 3)))
_faults = st.builds(
    Fault,
    gap=st.integers(0, 60),
    kind=st.integers(0, len(FAULTS) - 1),
    target=st.integers(0, 23),
    detail=st.integers(0, 17),
    when=st.integers(0, WHENS - 1),
)

schedules = st.builds(
    Schedule,
    ops=st.one_of(st.lists(_ops, min_size=1, max_size=5).map(tuple), st.sampled_from(SHAPES)),
    last=_lasts,
    asks=st.lists(_asks, min_size=1, max_size=4).map(tuple),
    faults=st.lists(_faults, max_size=15).map(tuple),
    partitions=st.sampled_from((1, 1, 2)),
    lanes=st.sampled_from((1, 2)),
    room=st.sampled_from((10, 1, 2)),
    window=st.sampled_from((1_000, 1, 2)),
    can_resume=st.sampled_from((True, True, False)),
    late=st.sampled_from((0, 400, 800)),
    sleeper=st.integers(-2, 4),
    lag=st.sampled_from((0, 15, 40)),
    slow_replay=st.sampled_from((0, 0, 20)),
)

seeds = st.integers(0, 2**32 - 1)


def draw(rng: Random) -> Schedule:
    """A schedule, from a plain generator."""
    return Schedule(
        ops=rng.choice(SHAPES) if rng.random() < 0.5 else tuple(_op(rng) for _ in range(rng.randrange(1, 6))),
        last=Op(rng.choice((0, 3)), rng.randrange(2), 0, 0, rng.randrange(4)),
        asks=tuple(
            Ask(rng.choice((0, 1, 2, -1)), rng.choice((0, 0, 0, 0, 0, 1, 2, 3))) for _ in range(rng.randrange(1, 5))
        ),
        faults=tuple(
            Fault(
                rng.randrange(61),
                rng.randrange(len(FAULTS)),
                rng.randrange(24),
                rng.randrange(18),
                rng.randrange(WHENS),
            )
            for _ in range(rng.randrange(16))
        ),
        partitions=rng.choice((1, 1, 2)),
        lanes=rng.choice((1, 2)),
        room=rng.choice((10, 1, 2)),
        window=rng.choice((1_000, 1, 2)),
        can_resume=rng.random() < 0.7,
        late=rng.choice((0, 400, 800)),
        sleeper=rng.randrange(-2, 5),
        lag=rng.choice((0, 15, 40)),
        slow_replay=rng.choice((0, 0, 20)),
    )


def aimed(
    rng: Random,
    ops: tuple[Op, ...],
    hits: tuple[tuple[str, int], ...],
    sleeper: int,
    *,
    lanes: int = 1,
    lates: tuple[int, ...] = (0, 800),
    slow_replays: tuple[int, ...] = (0, 20),
    whens: Sequence[int] = range(WHENS),
) -> Schedule:
    """One request of one shape, and many faults, each one of `hits`, (fault, target): for flaws that need several at
    once."""
    chosen = [rng.choice(hits) for _ in range(rng.randrange(2, 9))]
    faults = tuple(
        Fault(rng.randrange(40), FAULTS.index(kind), target, rng.randrange(18), rng.choice(whens))
        for kind, target in chosen
    )
    return Schedule(
        ops=ops,
        faults=faults,
        lanes=lanes,
        late=rng.choice(lates),
        sleeper=sleeper,
        lag=rng.choice((0, 15, 40)),
        slow_replay=rng.choice(slow_replays),
    )


def mishap(rng: Random, kind: int) -> Schedule:
    """Any requests to any pipeline, some faults, and one thing that an operator must not do while they are open."""
    accident = Accident(kind, rng.randrange(20, 400), rng.randrange(24))
    return replace(draw(rng), accident=accident, partitions=1, late=rng.choice((0, 400)))


def _op(rng: Random) -> Op:
    return Op(
        rng.randrange(5),
        rng.choice((0, 0, 0, 1, 2)),
        rng.randrange(4),
        rng.randrange(HABITS) if rng.random() < 0.3 else 0,
        rng.randrange(4) if rng.random() < 0.3 else 0,
    )
