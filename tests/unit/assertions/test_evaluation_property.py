"""Whatever the order, the batches, the superseded runs and the crashes: the flags that stand are those of the set."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from assertions import Assertion, Flag, FlagState, Observation, Registry, Window, assertion, consistency, evaluate
from assertions.core.consistency import WeakLabel
from assertions.core.definition import Member
from assertions.core.engine import Engine
from assertions.core.evaluator import Evaluator
from assertions.core.observation import Closed, Event, Seen, Superseded
from assertions.core.severity import Judged, Outcome, judged

LATENESS = 5.0


@functools.cache
def suite() -> list[Assertion]:
    registry = Registry()

    @assertion(on="p.s", registry=registry)
    def negative(value: dict[str, Any]) -> float:
        return max(0.0, -float(value["n"]))

    @assertion(on="p.s", window=3, within=20.0, per=lambda v: v["key"], lateness=LATENESS, registry=registry)
    def jumps(value: dict[str, Any], recent: Window[dict[str, Any]]) -> float:
        if not recent:
            return 0
        return abs(float(value["n"]) - sum(float(v["n"]) for v in recent) / len(recent))

    @assertion(on="p.s", within=4.0, lateness=LATENESS, registry=registry)
    def crowded(value: dict[str, Any], recent: Window[dict[str, Any]]) -> bool:
        return len(recent) >= 4 and value["n"] == recent[0]["n"]

    @assertion(on="p.s", window=50, per="request", lateness=LATENESS, registry=registry)
    def repeats(value: dict[str, Any], recent: Window[dict[str, Any]]) -> int:
        return sum(v["n"] == value["n"] for v in recent)

    consistency(
        on="p.s",
        name="agree",
        id=lambda v: v["key"],
        attrs=lambda v: {"n": v["n"]},
        within=6.0,
        lateness=LATENESS,
        registry=registry,
    )
    consistency(
        on="p.s",
        name="steady",
        id=lambda v: v["n"],
        within=3.0,
        scope=lambda v: v["key"],
        lateness=LATENESS,
        registry=registry,
    )
    return list(registry)


class Direct:
    """Judging without threads."""

    def keys(self, wanted: Sequence[tuple[Assertion, Sequence[Any]]]) -> list[list[tuple[str, ...]]]:
        return [[assertion.keys(member) for member in members] for assertion, members in wanted]

    def weak_label(self, assertion: Assertion) -> WeakLabel | None:
        return assertion.rule.weak_label if assertion.rule is not None else None

    def outcomes(self, wanted: Sequence[tuple[Assertion, Sequence[Any]]]) -> Sequence[Sequence[Any]]:
        return [[self._one(assertion, look) for look in looks] for assertion, looks in wanted]

    def _one(self, assertion: Assertion, look: Any) -> Any:
        from assertions.core.consistency import Step

        if assertion.rule is not None:
            return Step(look.member.observation, assertion.rule.outputs(*look.member.observation.values))
        return judged(assertion.call(look.member, look.before))


@dataclass(frozen=True)
class Story:
    """What happened, in the order in which it arrived."""

    events: tuple[Event, ...]
    standing: tuple[Observation, ...]
    cuts: tuple[int, ...]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    count = draw(st.integers(1, 30))
    arrivals: list[tuple[float, int, Event]] = []
    standing: list[Observation] = []
    clock = 0.0
    for n in range(count):
        clock += draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0]))
        seen = Observation(
            pipeline="p",
            stages=("s",),
            values=({"key": draw(st.sampled_from("ab")), "n": draw(st.integers(-1, 2))},),
            serial=f"0:{draw(st.integers(0, 3))}",
            path=str(n),
            time=clock,
            run="1-1",
        )
        late = draw(st.sampled_from([0.0, 0.0, 1.0, 4.5]))
        closing = draw(st.sampled_from([0.0, 0.5, 6.0, 30.0]))
        arrivals.append((clock + late, 0, Seen(seen)))
        if draw(st.booleans()) or draw(st.booleans()):
            standing.append(seen)
            arrivals.append((clock + late + closing, 1, Closed(seen.id)))
        else:
            arrivals.append((clock + late + closing, 1, Superseded(seen.id)))
    arrivals.sort(key=lambda each: each[:2])
    events = tuple(event for _, _, event in arrivals)
    cuts = draw(st.lists(st.integers(1, len(events)), max_size=8))
    return Story(events, tuple(standing), tuple(sorted({0, *cuts, len(events)})))


def batches(story: Story) -> list[tuple[Event, ...]]:
    return [story.events[a:b] for a, b in zip(story.cuts, story.cuts[1:], strict=False)]


def newest(records: Sequence[Flag]) -> dict[str, Flag]:
    return {flag.id: flag for flag in records}


def essence(flags: Sequence[Flag] | dict[str, Flag]) -> set[tuple[Any, ...]]:
    listed = flags.values() if isinstance(flags, dict) else flags
    return {
        (f.id, f.assertion, f.severity, f.data.assertion.rule, f.data.window, repr(f.data.correction))
        for f in listed
        if f.state is FlagState.STANDING
    }


@given(story=stories())
@settings(max_examples=150, deadline=None)
def test_a_live_run_gives_the_flags_of_the_set(story: Story) -> None:
    engine = Engine(suite(), Direct())
    records = [flag for batch in batches(story) for flag in engine.take(batch)] + engine.finish()
    live = newest(records)
    assert all(flag.state is not FlagState.PROVISIONAL for flag in live.values()), "a flag was left open"
    assert essence(live) == essence(evaluate(suite(), story.standing).flags)


@given(story=stories())
@settings(max_examples=100, deadline=None)
def test_states_of_a_flag_are_in_order(story: Story) -> None:
    engine = Engine(suite(), Direct())
    records = [flag for batch in batches(story) for flag in engine.take(batch)] + engine.finish()
    last: dict[str, Flag] = {}
    for flag in records:
        before = last.get(flag.id)
        if before is None:
            assert flag.data.revision == 1
            assert flag.state is not FlagState.WITHDRAWN
        else:
            assert flag.data.revision == before.data.revision + 1
            assert before.state is not FlagState.STANDING, "a standing flag changed"
        last[flag.id] = flag


@given(story=stories())
@settings(max_examples=100, deadline=None)
def test_the_flags_are_those_of_a_naive_reading(story: Story) -> None:
    """A checker that shares no code with the core."""
    flags = evaluate(suite(), story.standing).flags
    ordered = sorted(story.standing, key=lambda o: (o.time, o.id))
    expected: Counter[tuple[str, str]] = Counter()
    for at, seen in enumerate(ordered):
        value = seen.values[0]
        before = ordered[:at]
        if value["n"] < 0:
            expected["negative", seen.id] += 1
        same_key = [o for o in before if o.values[0]["key"] == value["key"] and seen.time - o.time <= 20.0][-3:]
        if same_key and value["n"] * len(same_key) != sum(o.values[0]["n"] for o in same_key):
            expected["jumps", seen.id] += 1
        recent = [o for o in before if seen.time - o.time <= 4.0]
        if len(recent) >= 4 and recent[0].values[0]["n"] == value["n"]:
            expected["crowded", seen.id] += 1
        if any(o.serial == seen.serial and o.values[0]["n"] == value["n"] for o in before):
            expected["repeats", seen.id] += 1
        near = [
            o.values[0]["n"] for o in ordered if o.values[0]["key"] == value["key"] and abs(o.time - seen.time) <= 6.0
        ]
        counts = Counter(near)
        if any(n >= counts[value["n"]] for said, n in counts.items() if said != value["n"]):
            expected["agree", seen.id] += 1
    found: Counter[tuple[str, str]] = Counter(
        (f.assertion, "/".join((f.pipeline, "s", f.data.lineage.serial, f.data.lineage.path, f.data.lineage.run)))
        for f in flags
        if f.assertion != "steady"
    )
    assert found == expected


def naive_transitions(steps: Sequence[tuple[float, set[int]]], within: float) -> Counter[tuple[str, float, int]]:
    """(rule, time of the flagged step, identifier), from the definition: two transitions at most T apart."""
    found: Counter[tuple[str, float, int]] = Counter()
    for identifier in {i for _, there in steps for i in there}:
        moves = [
            (at, identifier in there)
            for at, (_, there) in enumerate(steps)
            if at and (identifier in there) != (identifier in steps[at - 1][1])
        ]
        for (first, came), (second, _) in pairwise(moves):
            if steps[second][0] - steps[first][0] <= within:
                found["appear" if came else "flicker", steps[first if came else second][0], identifier] += 1
    return found


@given(story=stories())
@settings(max_examples=100, deadline=None)
def test_transitions_are_those_of_the_definition(story: Story) -> None:
    flags = [f for f in evaluate(suite(), story.standing).flags if f.assertion == "steady"]
    times = {(o.serial, o.path): o.time for o in story.standing}
    expected: Counter[tuple[str, float, int]] = Counter()
    for key in "ab":
        by_time: dict[float, set[int]] = {}
        for seen in story.standing:
            if seen.values[0]["key"] == key:
                by_time.setdefault(seen.time, set()).add(seen.values[0]["n"])
        expected += naive_transitions(sorted(by_time.items()), 3.0)
    found: Counter[tuple[str, float, int]] = Counter()
    for flag in flags:
        kind, identifier = flag.data.assertion.rule.split(":")
        found[kind, times[flag.data.lineage.serial, flag.data.lineage.path], int(identifier)] += 1
    assert found == expected


@given(story=stories(), crash=st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_a_crash_and_replay_changes_nothing(story: Story, crash: int) -> None:
    """Replay starts at the oldest event that the checkpoint still needs, and knows what was final."""
    log = story.events
    crash = min(crash, len(log))
    first = Engine(suite(), Direct())
    published: list[Flag] = []
    for event in log[:crash]:
        published += first.take([event])
    frontiers = {name: e.frontier for name, e in first.evaluators.items()}
    needed = min((e.needed_from for e in first.evaluators.values() if math.isfinite(e.needed_from)), default=-math.inf)
    open_ids = {e.observation.id for e in log[:crash] if isinstance(e, Seen)} - {
        e.observation_id for e in log[:crash] if isinstance(e, Closed | Superseded)
    }
    restart = 0
    while restart < crash:
        event = log[restart]
        if isinstance(event, Seen) and (event.observation.time >= needed or event.observation.id in open_ids):
            break
        restart += 1
    watermark = max((e.observation.time for e in log[:restart] if isinstance(e, Seen)), default=-math.inf)
    second = Engine(suite(), Direct(), context_before=frontiers)
    second.advance(watermark)
    for batch_start in range(restart, len(log), 3):
        published += second.take(log[batch_start : batch_start + 3])
    published += second.finish()

    together: dict[str, Flag] = {}
    for flag in published:
        there = together.get(flag.id)
        if there is None or there.state is not FlagState.STANDING:
            together[flag.id] = flag
    assert essence(together) == essence(evaluate(suite(), story.standing).flags)


def test_state_is_dropped_when_no_window_can_hold_it() -> None:
    engine = Engine(suite(), Direct())
    for n in range(3_000):
        seen = Observation(
            pipeline="p",
            stages=("s",),
            values=({"key": f"k{n % 7}", "n": n % 3},),
            serial=f"0:{n}",
            path="",
            time=float(n),
        )
        engine.take([Seen(seen, stands=True)])
    held = {name: sum(len(line.entries) for line in e._timelines.values()) for name, e in engine.evaluators.items()}
    assert held["negative"] == 0
    assert max(held.values()) < 700, held
    known = {name: len(e.entries) for name, e in engine.evaluators.items()}
    assert max(known.values()) < 700, known


def test_what_is_too_late_is_counted_and_left_out() -> None:
    engine = Engine(suite(), Direct())

    def at(time: float) -> Seen:
        return Seen(
            Observation(
                pipeline="p", stages=("s",), values=({"key": "a", "n": 0},), serial=f"0:{time}", path="", time=time
            ),
            stands=True,
        )

    engine.take([at(100.0), at(94.0), at(96.0)])
    assert engine.evaluators["jumps"].health.late == 1
    assert engine.evaluators["negative"].health.late == 0, "an assertion without a window has nothing to be late for"


def test_a_fault_leaves_the_flag_that_an_earlier_look_raised() -> None:
    from assertions.core.severity import Broken, Fault, Finding

    made = next(a for a in suite() if a.name == "negative")
    evaluator = Evaluator(made)
    seen = Observation(pipeline="p", stages=("s",), values=({"key": "a", "n": -1},), serial="0:1", path="", time=1.0)
    outcomes: list[Outcome] = [Judged((Finding("", 1.0),)), Broken(Fault.RAISED, "ValueError")]
    flags: list[Flag] = []
    for outcome in outcomes:
        evaluator.see(Member(seen.with_values({"key": "a", "n": -1, "again": outcome.seconds + len(flags)})), ["k"])
        due = evaluator.due()
        evaluator.settle(due, [outcome for _ in due])
        flags += evaluator.changes()
    assert [f.state for f in flags] == [FlagState.PROVISIONAL]
    assert evaluator.health.state.value in ("failing", "broken")
    assert evaluator.health.errors == {Fault.RAISED: 1}


def test_values_that_differ_far_apart_in_time_are_compared_with_what_comes_between() -> None:
    """The rule looks again at all outputs of an identifier only where they differ: far apart is different as well."""
    made = consistency(
        on="p.s",
        name="far",
        id=lambda v: "x",
        attrs=lambda v: {"n": v},
        within=6.0,
        lateness=30.0,
        registry=Registry(),
    )
    engine = Engine([made], Direct())

    def seen(value: int, time: float) -> Seen:
        return Seen(Observation("p", ("s",), (value,), serial=f"0:{time:g}", path="", time=time))

    assert engine.take([seen(1, 0.0)]) == []
    assert engine.take([seen(2, 10.0)]) == []
    between = engine.take([seen(2, 5.0)])
    assert {flag.data.lineage.serial for flag in between} == {"0:0"}
