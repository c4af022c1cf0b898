"""A processor that is killed and replaced: the flags topic ends as if nobody had died, and nothing is in it twice."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from assertions import Flag, FlagState
from assertions.core.flaglog import FlagLog
from assertions.core.fold import Checkpoint, Fold
from assertions.core.log import Batch, Logged, Routed, decode_batch, encode_batch, split
from assertions.core.observation import Closed, Seen, Superseded
from tests.unit.assertions.test_evaluation_property import Direct, Story, batches, essence, newest, stories, suite


def log_of(story: Story) -> list[Batch]:
    """The story as the intake would write it, cut where the story is cut."""
    watermark = 0.0
    log = []
    keyed = [a for a in suite() if a.is_keyed]
    for batch in batches(story):
        events: list[Logged] = []
        for event in batch:
            if isinstance(event, Seen):
                from assertions.core.definition import Member

                member = Member(event.observation)
                events.append(Routed(event.observation, True, {a.name: a.keys(member) for a in keyed}))
                watermark = max(watermark, event.observation.time)
            elif isinstance(event, Closed | Superseded):
                events.append(event)
        log.append(Batch(watermark, tuple(events)))
    return [*log, Batch(watermark + 10_000.0)]


def one_life(
    log: list[Batch], topic: list[Flag], start: Checkpoint | None, die_before: int, checkpoint_every: int
) -> Checkpoint | None:
    """Fold until death. Flags are written before a checkpoint is."""
    fold = Fold(suite(), Direct(), start)
    flags = FlagLog()
    for flag in topic:
        flags.restore(0, flag)
    flags.replay(0)
    low = start.low if start is not None else 0
    # Where a predecessor may have been: as the agent, take all there is now for replay.
    end = die_before if topic else low
    if end <= low:
        topic += flags.caught_up(0)
    made = start
    for offset in range(low, die_before):
        topic += flags.admit(0, fold.take(offset, log[offset], now=float(offset)))
        if offset + 1 == end:
            topic += flags.caught_up(0)
        if offset + 1 >= end and offset % checkpoint_every == 0:
            made = Checkpoint.from_json(fold.checkpoint().to_json())
    return made


@given(story=stories(), deaths=st.lists(st.integers(0, 9), max_size=3), every=st.integers(1, 4))
@settings(max_examples=120, deadline=None)
def test_killed_and_replaced_processors_leave_the_flags_of_one(story: Story, deaths: list[int], every: int) -> None:
    log = log_of(story)
    undisturbed: list[Flag] = []
    one_life(log, undisturbed, None, len(log), 1)
    topic: list[Flag] = []
    checkpoint: Checkpoint | None = None
    for death in sorted(min(d, len(log)) for d in deaths):
        checkpoint = one_life(log, topic, checkpoint, death, every)
    one_life(log, topic, checkpoint, len(log), every)

    assert essence(newest(topic)) == essence(newest(undisturbed))
    assert all(flag.state is not FlagState.PROVISIONAL for flag in newest(topic).values())
    assert max(Counter((f.id, f.data.revision) for f in topic).values(), default=1) == 1
    stood = Counter(f.id for f in topic if f.state is FlagState.STANDING)
    assert max(stood.values(), default=1) == 1, "a flag stands twice"


@given(story=stories())
@settings(max_examples=50, deadline=None)
def test_a_batch_is_read_as_it_was_written(story: Story) -> None:
    for batch in log_of(story):
        assert decode_batch(encode_batch(batch)) == batch


def test_a_batch_too_large_for_a_record_is_split_in_order() -> None:
    from assertions import Observation

    events = tuple(
        Routed(
            Observation(pipeline="p", stages=("s",), values=("x" * 300_000,), serial=f"0:{n}", path="", time=1.0), True
        )
        for n in range(7)
    )
    records = split(Batch(1.0, events))
    assert all(len(record) < 1_000_000 for record in records)
    assert [e for record in records for e in decode_batch(record).events] == list(events)
    *first, last = [decode_batch(record).watermark for record in records]
    assert (set(first), last) == ({-math.inf}, 1.0), "what is in a later record would be late"


def a_flag() -> Flag:
    from assertions import Observation, Registry, assertion, evaluate

    registry = Registry()
    assertion(on="p.s", name="a", registry=registry)(lambda v: True)
    (flag,) = evaluate(
        registry, [Observation(pipeline="p", stages=("s",), values=(1,), serial="0:1", path="", time=1.0)]
    ).flags
    return flag


def test_a_partition_that_went_and_came_back_knows_nothing_of_before() -> None:
    """Its other owner may have finished the flag, longer ago than what is read back."""
    flags = FlagLog()
    flags.restore(3, replace_state(a_flag(), FlagState.PROVISIONAL))
    flags.forget(3)
    assert flags.caught_up(3) == [], "nobody has replayed it"
    flags.replay(3)
    assert flags.caught_up(3) == []


def test_what_nobody_raises_again_after_a_restart_is_withdrawn() -> None:
    flag = a_flag()
    flags = FlagLog()
    flags.restore(3, replace_state(flag, FlagState.PROVISIONAL))
    flags.replay(3)
    (withdrawn,) = flags.caught_up(3)
    assert (withdrawn.id, withdrawn.state, withdrawn.data.revision) == (flag.id, FlagState.WITHDRAWN, 2)
    assert flags.admit(3, [replace_state(flag, FlagState.WITHDRAWN)]) == []


def replace_state(flag: Flag, state: FlagState) -> Flag:
    return flag.model_copy(update={"data": flag.data.model_copy(update={"state": state})})


def test_a_checkpoint_survives_json() -> None:
    made = Checkpoint(low=7, frontiers={"a": float("-inf"), "b": 3.5})
    assert Checkpoint.from_json(made.to_json()) == made
    assert Checkpoint.from_json(replace(made, since=float("inf")).to_json()).since == float("inf")
