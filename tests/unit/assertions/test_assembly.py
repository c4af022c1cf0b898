"""From a pipeline's records to observations: joins, growing texts, superseded runs, answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assertions import Flag, Registry, assertion, evaluate
from assertions.core.assembly import Assembler, Incoming
from assertions.core.log import Batch, Routed, decode_batch, encode_batch
from assertions.core.observation import Closed, Event, Seen, Superseded
from streams.core.lineage import RunId, Serial
from streams.core.record import Envelope, Kind
from streams.core.text import Piece, encode_piece
from streams.errors import RecordError

SERIAL = Serial(0, 7)


class Records:
    def __init__(self, *wanted: tuple[str, ...]) -> None:
        self.assembler = Assembler("p", wanted)
        self._offset = 0

    def item(
        self, stage: str, value: Any, path: tuple[int, ...] = (), n: int = 1, serial: Serial = SERIAL
    ) -> list[Event]:
        return self.record(stage, json.dumps(value).encode(), envelope(stage, path, n, serial))

    def record(self, stage: str, value: bytes | None, given: Envelope) -> list[Event]:
        self._offset += 1
        return self.assembler.record(Incoming(f"p.{stage}", 0, self._offset, float(self._offset), given, value))


def envelope(stage: str, path: tuple[int, ...] = (), n: int = 1, serial: Serial = SERIAL) -> Envelope:
    return Envelope(
        id="r", kind=Kind.ITEM, serial=serial, plan="x", stage=stage, path=path, lin=(RunId(1, n),), deadline=1
    )


def values(events: list[Event]) -> list[Any]:
    return [e.observation.values for e in events if isinstance(e, Seen)]


def test_an_item_is_an_observation_of_each_assertion_s_stages() -> None:
    records = Records(("verdict",), ("claim", "verdict"))
    assert values(records.item("verdict", "v", (0,))) == [("v",)]
    assert values(records.item("claim", "c", (0,))) == [("c", "v")]
    assert records.item("other", "o") == []


@pytest.mark.parametrize(
    "value", [rb'"\ud800"', b"[" * 190 + b"]" * 190, b"{"], ids=["half a character", "deep", "no JSON"]
)
def test_a_value_that_could_not_be_written_again_is_refused_here(value: bytes) -> None:
    """Further on it would end the process, and the next one too."""
    with pytest.raises(RecordError):
        Records(("verdict",)).record("verdict", value, envelope("verdict"))


def test_what_is_taken_can_be_logged_and_flagged() -> None:
    deep = b"[" * 170 + b"NaN" + b"]" * 170
    [event] = Records(("verdict",)).record("verdict", deep, envelope("verdict"))
    assert isinstance(event, Seen)
    [logged] = decode_batch(encode_batch(Batch(0.0, (Routed(event.observation, is_plain=True),)))).events
    registry = Registry()
    assertion(on="p.verdict", name="a", registry=registry)(lambda v: True)
    assert isinstance(logged, Routed)
    [flag] = evaluate(registry, [logged.observation]).flags
    assert Flag.from_bytes(flag.to_bytes()).id == flag.id


def test_a_shallower_item_is_joined_with_each_deeper_one() -> None:
    records = Records(("question", "claim"))
    assert values(records.item("claim", "c0", (0,))) == []
    assert values(records.item("claim", "c1", (1,))) == []
    assert sorted(values(records.item("question", "q"))) == [("q", "c0"), ("q", "c1")]
    assert values(records.item("claim", "c2", (2,))) == [("q", "c2")]


def test_a_run_that_outranks_another_supersedes_what_rested_on_it() -> None:
    records = Records(("claim", "verdict"), ("verdict",))
    records.item("claim", "c", (0,))
    first = records.item("verdict", "old", (0,))
    events = records.item("verdict", "new", (0,), n=2)
    gone = {e.observation_id for e in events if isinstance(e, Superseded)}
    assert gone == {e.observation.id for e in first if isinstance(e, Seen)}
    assert sorted(values(events)) == [("c", "new"), ("new",)]
    assert records.item("verdict", "older", (0,), n=1) == []


def test_an_answer_that_rests_on_an_older_run_makes_it_stand_again() -> None:
    """It was complete before the younger run was (PROTOCOL §9.4)."""
    records = Records(("report",), ("verdict",))
    (first,) = records.item("report", "old", n=1)
    records.item("report", "new", n=2)
    records.item("verdict", "child", (0,))
    events = records.assembler.answered(SERIAL, envelope("report", n=1))
    assert isinstance(first, Seen)
    closed = {e.observation_id for e in events if isinstance(e, Closed)}
    gone = {e.observation_id for e in events if isinstance(e, Superseded)}
    assert values(events) == [("old",)]
    assert first.observation.id in closed
    assert len(closed) == 2, "and the child, of which the answer says nothing else"
    assert len(gone) == 1


def test_a_text_that_was_outranked_while_it_grew_stands_when_the_answer_rests_on_it() -> None:
    records = Records(("draft",))

    def text(kind: Kind, n: int, position: int = 0, words: str = "") -> list[Event]:
        w = RunId(3, n)
        given = envelope("draft", n=n)._replace(kind=kind, position=position, base=w, w=w, total=2)
        return records.record("draft", encode_piece(Piece(position, words, (1,), 1)) if words else None, given)

    text(Kind.CHUNK, 1, 0, "Bolivia")
    assert values(text(Kind.CHUNK, 2, 0, "Peru")) == [("Peru",)]
    assert text(Kind.CHUNK, 1, 1, " is") == []
    assert text(Kind.END, 1) == []
    events = records.assembler.answered(SERIAL, envelope("draft", n=1))
    assert values(events) == [("Bolivia is",)]
    assert [type(e) for e in events] == [Superseded, Seen, Closed]


def test_a_text_grows_and_ends() -> None:
    records = Records(("draft",))
    w = RunId(3, 1)

    def chunk(position: int, text: str) -> list[Event]:
        given = envelope("draft")._replace(kind=Kind.CHUNK, position=position, base=w, w=w)
        return records.record("draft", encode_piece(Piece(position, text, (1,), 1)), given)

    seen = [e for e in chunk(0, "Bolivia") + chunk(1, " is") if isinstance(e, Seen)]
    end = records.record("draft", None, envelope("draft")._replace(kind=Kind.END, total=2, base=w, w=w))
    (whole,) = [e for e in end if isinstance(e, Seen)]
    assert [e.observation.values for e in seen] == [("Bolivia",), ("Bolivia is",)]
    assert not any(e.observation.is_complete for e in seen)
    assert (whole.observation.values, whole.observation.is_complete) == (("Bolivia is",), True)
    assert len({e.observation.id for e in [*seen, whole]}) == 1, "one text, one observation"


def test_the_answer_decides_what_stood() -> None:
    records = Records(("verdict",))
    records.item("verdict", "kept", (0,))
    (event,) = records.assembler.answered(SERIAL, envelope("report"))
    assert isinstance(event, Closed)
    assert records.assembler.open_count == 0

    other = Serial(0, 8)
    records.item("report", "x", serial=other)
    again = Records(("report",))
    again.item("report", "old", n=1)
    (event,) = again.assembler.answered(SERIAL, envelope("report", n=2))
    assert isinstance(event, Superseded), "the answer rests on another run"


def test_an_item_read_after_its_answer_stands_if_it_agrees() -> None:
    records = Records(("report",))
    records.assembler.answered(SERIAL, envelope("report", n=2))
    assert [type(e) for e in records.item("report", "right", n=2)] == [Seen, Closed]
    assert records.item("report", "wrong", n=1) == []


def test_a_repeated_request_never_stood_and_a_forgotten_one_expires() -> None:
    records = Records(("report",))
    records.item("report", "a")
    assert [type(e) for e in records.assembler.dropped(SERIAL)] == [Superseded]
    records.item("report", "b", serial=Serial(0, 9))
    assert records.assembler.low_offsets() == {("p.report", 0): 2}
    assert records.assembler.expire(30.0) == []
    assert [type(e) for e in records.assembler.expire(1_000.0)] == [Superseded]
    assert records.assembler.low_offsets() == {}
