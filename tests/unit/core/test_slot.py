"""A slot by its effects; whole pipelines are in tests/simulation."""

from __future__ import annotations

import gc
from dataclasses import replace
from itertools import count

from streams.core.effects import Effect, Emit, Ended, Failed, Reject, Run, Start, Stop, Value
from streams.core.failure import Failure
from streams.core.group import Shape
from streams.core.lineage import Layout, Path, RunId, Serial
from streams.core.offsets import SlotMetadata
from streams.core.plan import REQUEST, OnError, Plan
from streams.core.record import Envelope, Kind
from streams.core.revision import REVISIONS_MAX, Revision
from streams.core.slot import Slot
from tests.unit.core.plans import plan_of

SERIAL = Serial(0, 0)


class Driven:
    """A slot with what a runtime keeps beside it."""

    def __init__(self, plan: Plan, stage: str, marks: tuple[bytes, ...] = (), epoch: int = 1) -> None:
        self.plan = plan
        self.shape = Shape(plan, plan[stage], Layout(plan))
        counter = count(1)
        self.closed: set[Serial] = set()
        self.slot = Slot(
            self.shape,
            0,
            metadata=SlotMetadata(epoch, marks=marks),
            positions=dict.fromkeys(range(len(self.shape.sources)), 0),
            next_n=lambda: next(counter),
            is_closed=self.closed.__contains__,
        )
        self.offsets = dict.fromkeys(self.shape.sources, 0)

    def request(self) -> list[Effect]:
        envelope = Envelope("r", Kind.ITEM, plan=self.plan.digest)
        return self._record(REQUEST, envelope, b"q")

    def record(
        self, source: str, kind: Kind, path: Path, *runs: int, value: bytes = b"v", total: int = 0, topic: str = ""
    ) -> list[Effect]:
        lin = tuple(RunId(1, n) for n in runs)
        envelope = Envelope("r", kind, SERIAL, self.plan.digest, source, path, lin, total=total)
        return self._record(topic or source, envelope, value)

    def _record(self, topic: str, envelope: Envelope, value: bytes | None) -> list[Effect]:
        offset = self.offsets[topic]
        self.offsets[topic] += 1
        return list(self.slot.record(self.shape.sources.index(topic), offset, envelope, value))

    def ready(self) -> Driven:
        assert list(self.slot.caught_up()) == []
        return self


def started(effects: list[Effect]) -> Run:
    (run,) = [e.run for e in effects if isinstance(e, Start)]
    return run


def emitted(effects: list[Effect]) -> list[Envelope]:
    return [e.envelope for e in effects if isinstance(e, Emit)]


MAPS = plan_of(("a", "map", REQUEST), ("b", "map", "a"))
JOINS = plan_of(("f", "fork", REQUEST), ("m", "map", "f"), ("j", "map", "m*"))


def test_a_map_runs_once_and_names_all_its_ancestors() -> None:
    b = Driven(MAPS, "b").ready()
    run = started(b.record("a", Kind.ITEM, (), 7))
    (out,) = emitted(list(b.slot.returned(run, Value(b"w"))))
    assert (out.kind, out.stage, out.lin) == (Kind.ITEM, "b", (RunId(1, 7), RunId(1, 1)))
    assert b.record("a", Kind.ITEM, (), 7) == []


def test_what_a_run_gave_is_let_go_when_it_leaves() -> None:
    b = Driven(MAPS, "b").ready()
    run = started(b.record("a", Kind.ITEM, (), 7))
    given = Value(b"w")
    left = b.slot.returned(run, given)
    assert [effect.value for effect in left if isinstance(effect, Emit)] == [b"w"]
    assert given not in gc.get_referents(run), "an open request would hold every stage's output"


def test_a_superseded_input_voids_the_run_and_starts_another() -> None:
    b = Driven(MAPS, "b").ready()
    first = started(b.record("a", Kind.ITEM, (), 7))
    stop, start = b.record("a", Kind.ITEM, (), 8)
    assert stop == Stop(first)
    assert isinstance(start, Start)
    assert list(b.slot.returned(first, Value(b"late"))) == []
    assert b.record("a", Kind.ITEM, (), 6) == []


def test_nothing_runs_during_replay() -> None:
    b = Driven(MAPS, "b")
    assert b.record("a", Kind.ITEM, (), 7) == []
    (start,) = b.slot.caught_up()
    assert isinstance(start, Start)


def test_a_marked_selection_does_not_run_again_and_another_does() -> None:
    b = Driven(MAPS, "b").ready()
    run = started(b.record("a", Kind.ITEM, (), 7))
    list(b.slot.returned(run, Value(b"w")))
    assert b.slot.committable()[1].marks == ()
    b.slot.acked(run)
    offsets, metadata = b.slot.committable()
    assert offsets == {0: 0}, "the request is open: its input is needed"
    heir = Driven(MAPS, "b", metadata.marks, epoch=2)
    heir.record("a", Kind.ITEM, (), 7)
    assert list(heir.slot.caught_up()) == []
    other = Driven(MAPS, "b", metadata.marks, epoch=2)
    other.record("a", Kind.ITEM, (), 7)
    other.record("a", Kind.ITEM, (), 8)
    assert len(list(other.slot.caught_up())) == 1


def test_closing_frees_everything_and_lets_offsets_go() -> None:
    b = Driven(MAPS, "b").ready()
    run = started(b.record("a", Kind.ITEM, (), 7))
    b.closed.add(SERIAL)
    assert list(b.slot.closed(SERIAL)) == [Stop(run)]
    assert b.slot.committable() == ({0: 1}, SlotMetadata(1))
    assert b.record("a", Kind.ITEM, (), 8) == []
    assert (b.slot.requests, b.slot.committable()[0]) == ({}, {0: 2})


def test_a_join_starts_with_the_first_child_and_ends_with_the_last() -> None:
    j = Driven(JOINS, "j").ready()
    run = started(j.record("m", Kind.ITEM, (1,), 1, 2))
    assert emitted(list(j.slot.returned(run, Value(b"early")))) == []
    assert emitted(j.record("f", Kind.END, (), 1, total=2, topic="m")) == []
    (out,) = emitted(j.record("m", Kind.TOMBSTONE, (0,), 1, 3))
    assert out.kind is Kind.ITEM
    assert out.lin == (RunId(1, 1), RunId(1, 1))


def test_an_end_of_another_run_counts_no_children() -> None:
    j = Driven(JOINS, "j").ready()
    j.record("m", Kind.ITEM, (0,), 1, 1)
    run = started(j.record("f", Kind.END, (), 2, total=1, topic="m"))
    assert emitted(list(j.slot.returned(run, Value(b"none")))) == []
    (out,) = emitted(j.record("m", Kind.ITEM, (0,), 2, 2))
    assert out.lin[0] == RunId(1, 2)


def test_markers_above_the_node_are_passed_on_unchanged() -> None:
    m = Driven(JOINS, "m").ready()
    (out,) = emitted(m.record("f", Kind.END, (), 1, total=2))
    assert (out.stage, out.path, out.total, out.kind) == ("f", (), 2, Kind.END)


def test_an_error_fails_the_join_and_a_policy_may_drop_it() -> None:
    strict = Driven(JOINS, "j").ready()
    effects = strict.record("m", Kind.ERROR, (0,), 1, 1, value=b"why")
    assert [(e.kind, e.lin[0]) for e in emitted(effects)] == [(Kind.ERROR, RunId(1, 1))]
    lenient = Driven(
        plan_of(("f", "fork", REQUEST), ("m", "map", "f"), ("j", "map", "m*"), on_error=OnError.DROP), "j"
    ).ready()
    run = started(lenient.record("m", Kind.ERROR, (0,), 1, 1))
    list(lenient.slot.returned(run, Value(b"rest")))
    (out,) = emitted(lenient.record("f", Kind.END, (), 1, total=1, topic="m"))
    assert out.kind is Kind.ITEM


def test_only_a_parameter_typed_for_failures_is_given_one() -> None:
    maps = plan_of(("a", "map", REQUEST), ("b", "map", REQUEST), ("j", "map", "a", "b"), on_error=OnError.PASS)
    join = maps["j"]
    takes_a = replace(join, inputs=(join.inputs[0], replace(join.inputs[1], takes_failed=False)))
    plan = replace(maps, stages=tuple(takes_a if stage is join else stage for stage in maps.stages))

    given = Driven(plan, "j").ready()
    given.record("b", Kind.ITEM, (), 1)
    started(given.record("a", Kind.ERROR, (), 1, value=b"why"))

    kept = Driven(plan, "j").ready()
    kept.record("a", Kind.ITEM, (), 1)
    (error,) = emitted(kept.record("b", Kind.ERROR, (), 1, value=b"why"))
    assert error.kind is Kind.ERROR


def test_a_stream_that_takes_no_failures_fails_the_join() -> None:
    joins = plan_of(("f", "fork", REQUEST), ("m", "map", "f"), ("j", "map", "m*", REQUEST), on_error=OnError.PASS)
    join = joins["j"]
    inputs = tuple(replace(i, takes_failed=i.source == REQUEST) for i in join.inputs)
    plan = replace(joins, stages=tuple(replace(s, inputs=inputs) if s is join else s for s in joins.stages))
    slot = Driven(plan, "j").ready()
    slot.request()
    (error,) = emitted(slot.record("m", Kind.ERROR, (0,), 1, 2, value=b"why"))
    assert error.kind is Kind.ERROR


def test_a_failed_run_is_retried_as_a_new_run_and_then_an_error() -> None:
    b = Driven(plan_of(("a", "map", REQUEST), ("b", "map", "a"), retries=1), "b").ready()
    first = started(b.record("a", Kind.ITEM, (), 7))
    failure = Failed(Failure("stage.raised", "x", "b"))
    second = started(list(b.slot.returned(first, failure)))
    assert second.id > first.id
    effects = list(b.slot.returned(second, failure))
    (out,) = emitted(effects)
    assert out.kind is Kind.ERROR
    assert out.lin[-1] is not None
    assert out.lin[-1] > second.id


def test_fan_out_is_limited() -> None:
    f = Driven(plan_of(("f", "fork", REQUEST), ("j", "map", "f*")), "f").ready()
    run = started(f.request())
    f.slot._fan_out_max = 2  # type: ignore[misc]
    effects = [e for _ in range(3) for e in f.slot.child(run, b"c")]
    assert [e.kind for e in emitted(effects)] == [Kind.ITEM, Kind.ITEM, Kind.ERROR]


def test_a_held_request_keeps_children_until_the_fork_has_ended() -> None:
    plan = plan_of(("f", "fork", REQUEST), ("j", "map", "f*"))
    f = Driven(plan, "f").ready()
    run = started(f._record(REQUEST, Envelope("r", Kind.ITEM, plan=plan.digest, hold=True), b"q"))
    assert list(f.slot.child(run, b"c")) == []
    assert [e.kind for e in emitted(list(f.slot.returned(run, Ended())))] == [Kind.ITEM, Kind.END]


def test_a_record_of_another_plan_is_rejected_and_holds_its_offset() -> None:
    b = Driven(MAPS, "b").ready()
    envelope = Envelope("r", Kind.ITEM, SERIAL, "other", "a", (), (RunId(1, 1),))
    (reject,) = b._record("a", envelope, b"v")
    assert isinstance(reject, Reject)
    assert reject.error.code == "record.plan"
    assert b.slot.committable()[0] == {0: 0}


def test_two_joins_of_one_map_must_have_seen_the_same_runs() -> None:
    plan = plan_of(
        ("f", "fork", REQUEST), ("s", "map", "f"), ("x", "map", "s*"), ("y", "map", "s*"), ("z", "map", "x", "y")
    )

    def digest_of(join: str, run: int) -> tuple[tuple[str, int], ...]:
        joined = Driven(plan, join).ready()
        started(joined.record("s", Kind.ITEM, (0,), 1, run))
        effects = joined.record("f", Kind.END, (), 1, total=1, topic="s")
        (last,) = [e.run for e in effects if not isinstance(e, Emit)][-1:]  # type: ignore[union-attr]
        (out,) = emitted(list(joined.slot.returned(last, Value(b"v"))))
        return out.digests

    assert digest_of("x", 1) == digest_of("y", 1) != digest_of("y", 2)
    z = Driven(plan, "z").ready()

    def give(join: str, n: int, run: int) -> list[Effect]:
        lin = (RunId(1, 1), RunId(1, n))
        return z._record(
            join, Envelope("r", Kind.ITEM, SERIAL, plan.digest, join, (), lin, digests=digest_of(join, run)), b"v"
        )

    give("x", 1, 1)
    run = started(give("y", 2, 2))
    assert emitted(list(z.slot.returned(run, Value(b"mixed")))) == []
    again = started(give("x", 3, 2))
    (out,) = emitted(list(z.slot.returned(again, Value(b"whole"))))
    assert out.kind is Kind.ITEM


# -- wishes for another run --------------------------------------------------------------------------------------------


def wish(
    driven: Driven, stage: str, name: str, path: Path, *runs: int, value: bytes | None = None, topic: str = ""
) -> list[Effect]:
    """That `stage` runs again, said on its home topic of what its run `runs[-1]` gave."""
    lin = tuple(RunId(1, n) for n in runs)
    envelope = Envelope("r", Kind.REVISE, SERIAL, driven.plan.digest, stage, path, lin)
    return driven._record(topic or driven.shape.sources[0], envelope, Revision(name, "shorter", value).encode())


def finished(driven: Driven, run: Run) -> bytes:
    """What its finished run is marked with."""
    assert len(emitted(list(driven.slot.returned(run, Value(b"w"))))) == 1
    driven.slot.acked(run)
    [mark] = driven.slot.committable()[1].marks
    return mark


def test_a_wish_voids_the_run_and_starts_another_that_knows_it() -> None:
    b = Driven(MAPS, "b").ready()
    first = started(b.record("a", Kind.ITEM, (), 7))
    finished(b, first)
    effects = wish(b, "b", "w1", (), 7, 1)
    assert isinstance(effects[0], Stop)
    second = started(effects)
    assert second.id > first.id
    assert [r.hint for r in second.node.group.revisions] == ["shorter"]
    (out,) = emitted(list(b.slot.returned(second, Value(b"x"))))
    assert (out.lin[-1], out.revisions) == (second.id, 1)
    assert wish(b, "b", "w1", (), 7, 1) == [], "the same wish, said twice"


def test_a_wish_about_an_outdated_ancestor_is_not_heeded() -> None:
    b = Driven(MAPS, "b").ready()
    b.record("a", Kind.ITEM, (), 7)
    second = started(b.record("a", Kind.ITEM, (), 9))
    assert wish(b, "b", "w1", (), 7, 1) == []
    assert second.node.run is second
    third = started(wish(b, "b", "w2", (), 9, 2))
    # What it was said about is outdated now, and so is the wish.
    assert started(b.record("a", Kind.ITEM, (), 11)).node is third.node
    assert third.node.group.revisions == ()


def test_wishes_for_one_node_have_a_limit() -> None:
    b = Driven(MAPS, "b").ready()
    b.record("a", Kind.ITEM, (), 7)
    runs = [started(wish(b, "b", f"w{n}", (), 7, n + 1)) for n in range(REVISIONS_MAX)]
    assert len({run.id for run in runs}) == REVISIONS_MAX
    assert wish(b, "b", "one more", (), 7, 9) == []


def test_a_value_stands_in_place_of_what_the_function_would_give() -> None:
    b = Driven(MAPS, "b").ready()
    b.record("a", Kind.ITEM, (), 7)
    effects = wish(b, "b", "w1", (), 7, 1, value=b'"no comment"')
    (emit,) = [e for e in effects if isinstance(e, Emit)]
    assert (emit.value, emit.envelope.lin[-1]) == (b'"no comment"', RunId(1, 2))
    assert not [e for e in effects if isinstance(e, Start)]


def test_a_join_waits_for_all_its_inputs_before_a_value_stands_in() -> None:
    j = Driven(JOINS, "j").ready()
    j.record("m", Kind.ITEM, (0,), 7, 1)
    effects = wish(j, "j", "w1", (), 7, 1, value=b'"instead"')
    assert not emitted(effects)
    (out,) = emitted(j.record("f", Kind.END, (), 7, total=1, topic="m"))
    assert out.kind is Kind.ITEM


def test_a_successor_heeds_what_was_said_and_runs_nothing_twice() -> None:
    first = Driven(MAPS, "b").ready()
    finished(first, started(first.record("a", Kind.ITEM, (), 7)))
    mark = finished(first, started(wish(first, "b", "w1", (), 7, 1)))

    knows = Driven(MAPS, "b", marks=(mark,), epoch=2)
    knows.record("a", Kind.ITEM, (), 7)
    wish(knows, "b", "w1", (), 7, 1)
    assert list(knows.slot.caught_up()) == [], "the mark says that the wish was heeded"

    forgot = Driven(MAPS, "b", epoch=2)
    wish(forgot, "b", "w1", (), 7, 1, topic="a")
    forgot.offsets["a"] = 5  # in whichever order they are read
    forgot.record("a", Kind.ITEM, (), 7)
    run = started(list(forgot.slot.caught_up()))
    assert (run.id.epoch, len(run.node.group.revisions)) == (2, 1)


def test_a_wish_that_was_not_heeded_before_the_takeover_is_heeded_after_it() -> None:
    first = Driven(MAPS, "b").ready()
    mark = finished(first, started(first.record("a", Kind.ITEM, (), 7)))
    second = Driven(MAPS, "b", marks=(mark,), epoch=2)
    second.record("a", Kind.ITEM, (), 7)
    wish(second, "b", "w1", (), 7, 1)
    assert len(started(list(second.slot.caught_up())).node.group.revisions) == 1


def test_wishes_for_other_stages_of_closed_requests_and_of_nobody_change_nothing() -> None:
    b = Driven(MAPS, "b").ready()
    run = started(b.record("a", Kind.ITEM, (), 7))
    assert wish(b, "a", "w1", (), 7, topic="a") == []
    (rejected,) = wish(b, "b", "w2", (), 7)  # a lineage that does not fit
    assert isinstance(rejected, Reject)
    assert run.node.run is run
    b.closed.add(SERIAL)
    list(b.slot.closed(SERIAL))
    assert wish(b, "b", "w3", (), 7, 1) == []
    assert b.slot.committable()[0] == {0: 4}
