"""Whatever parses may be read: a slot and a lane refuse what does not fit, and raise nothing (PROTOCOL §5.1)."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.effects import Ended, Run, Start, Value
from streams.core.group import Shape
from streams.core.lane import Lane
from streams.core.lineage import Layout, RunId, Serial
from streams.core.offsets import SlotMetadata
from streams.core.plan import StageKind
from streams.core.record import Envelope, Kind, parse_envelope
from streams.core.slot import Slot
from streams.errors import RecordError
from tests.unit.core.plans import plan_of

PLAN = plan_of(
    ("draft", "model", "accepted"),
    ("claims", "fork", "draft~"),
    ("evidence", "map", "claims"),
    ("verify", "model", "claims", "evidence"),
    ("verdict", "map", "claims", "verify~"),
    ("report", "map", "accepted", "verdict*"),
)

VALUES = (
    None,
    b"",
    b"null",
    b"\xff",
    b"[1]",
    b'{"text": "a", "ids": [1]}',
    b'{"text": 1, "ids": "x"}',
    b'{"error": {}}',
    b'{"error": {"code": "a", "stage": "b", "message": "c"}}',
)

runs = st.none() | st.builds(RunId, st.integers(1, 3), st.integers(1, 5))
serials = st.builds(Serial, st.just(0), st.integers(0, 2))
envelopes = st.builds(
    Envelope,
    id=st.just("r"),
    kind=st.sampled_from(Kind),
    serial=st.none() | serials,
    plan=st.sampled_from((PLAN.digest, "another")),
    stage=st.sampled_from(("", "nobody", *(stage.name for stage in PLAN.stages))),
    path=st.lists(st.integers(0, 2), max_size=3).map(tuple),
    lin=st.lists(runs, max_size=7).map(tuple),
    total=st.sampled_from((0, 1, 2, 10**15)),
    position=st.integers(0, 2),
    base=runs,
    w=runs,
    digests=st.sampled_from(((), (("claims", 1),))),
)
steps = st.lists(
    st.tuples(st.just("record"), st.integers(0, 2), envelopes, st.sampled_from(VALUES))
    | st.tuples(st.sampled_from(("caught up", "returned", "closed")), st.integers(0, 2), envelopes, st.none()),
    max_size=25,
)


@settings(deadline=None)
@given(stage=st.sampled_from(PLAN.stages), steps=steps)
def test_a_slot_survives_whatever_parses(stage: object, steps: list[tuple[str, int, Envelope, bytes | None]]) -> None:
    shape = Shape(PLAN, stage, Layout(PLAN))  # type: ignore[arg-type]
    counter, closed = count(1), set[Serial]()
    positions = dict.fromkeys(range(len(shape.sources)), 0)
    slot = Slot(
        shape,
        0,
        metadata=SlotMetadata(1),
        positions=dict(positions),
        next_n=lambda: next(counter),
        is_closed=closed.__contains__,
    )
    running: list[Run] = []
    for what, number, envelope, value in steps:
        if what == "record":
            source = number % len(positions)
            effects = list(slot.record(source, positions[source], envelope, value))
            positions[source] += 1
        elif what == "caught up":
            effects = list(slot.caught_up()) if slot.is_replaying else []
        elif what == "returned":
            result = Ended() if shape.stage.kind is StageKind.FORK else Value(b"{}")
            effects = list(slot.returned(running.pop(), result)) if running else []
        else:
            closed.add(Serial(0, number))
            effects = list(slot.closed(Serial(0, number)))
        running += [effect.run for effect in effects if isinstance(effect, Start)]
        slot.committable()


@settings(deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(("record", "caught up", "closed")), envelopes), max_size=25))
def test_a_lane_survives_whatever_parses(steps: list[tuple[str, Envelope]]) -> None:
    counter, closed = count(1), set[Serial]()
    lane = Lane(
        epoch=1,
        position=0,
        next_n=lambda: next(counter),
        is_closed=lambda _, serial: serial in closed,
        can_resume=True,
    )
    for offset, (what, envelope) in enumerate(steps):
        if what == "record":
            list(lane.record(offset, "p", envelope, b"{}"))
        elif what == "caught up":
            list(lane.caught_up()) if lane.is_replaying else []
        elif envelope.serial is not None:
            closed.add(envelope.serial)
            list(lane.closed("p", envelope.serial))
        lane.committable()


@pytest.mark.parametrize("name", ["lin", "path", "serial", "w", "deadline", "count"])
def test_a_number_that_python_refuses_to_read_is_no_envelope(name: str) -> None:
    run = RunId(1, 1)
    right = Envelope("r", Kind.END, Serial(0, 0), "p", "s", (0,), (run,), base=run, w=run)
    long = b"9" * 5_000
    written = {"lin": b"1-" + long, "path": long, "serial": b"0:" + long, "w": b"1-" + long}.get(name, long)
    with pytest.raises(RecordError) as raised:
        parse_envelope([(n, written if n == name else v) for n, v in right.headers()])  # type: ignore[misc]
    assert raised.value.code == "record.envelope"
