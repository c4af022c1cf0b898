from __future__ import annotations

import json

from streams.core.answered import AnsweredIds
from streams.core.closer import Close, Closer
from streams.core.control import ClosedRequests, ControlEntry
from streams.core.failure import Failure, decode_failure
from streams.core.lineage import Serial
from streams.core.record import Envelope, Kind


def closer(window: int = 100) -> Closer:
    return Closer(ClosedRequests(), AnsweredIds(window))


def ask(request_id: str, kind: Kind = Kind.ITEM, deadline: int = 1_000) -> Envelope:
    return Envelope(request_id, kind, deadline=deadline)


ANSWER = Envelope("r", Kind.ITEM, Serial(0, 0), "p", "closer")


def reasons(closes: object) -> list[tuple[int, str]]:
    return [(c.offset, c.reason) for c in closes]  # type: ignore[attr-defined]


def test_the_first_end_wins() -> None:
    one = closer()
    assert reasons(one.accepted(0, ask("r"), b"q")) == []
    assert reasons(one.answer(0, ANSWER, b"a")) == [(0, "answered")]
    assert reasons(one.answer(0, ANSWER, b"b")) == []
    assert reasons(one.due(10_000)) == []


def test_an_open_or_answered_id_is_a_duplicate_without_an_answer() -> None:
    one = closer()
    list(one.accepted(0, ask("r"), b"q"))
    (double,) = one.accepted(1, ask("r"), b"q")
    assert double == Close(1, "duplicate", "r")
    list(one.answer(0, ANSWER, b"a"))
    assert reasons(one.accepted(2, ask("r"), b"q")) == [(2, "duplicate")]


def test_an_answer_may_overtake_its_request() -> None:
    one = closer()
    assert reasons(one.answer(0, ANSWER._replace(kind=Kind.ERROR), Failure("stage.raised", "x").encode())) == []
    assert reasons(one.accepted(0, ask("r"), b"q")) == [(0, "error")]


def test_a_cancel_ends_the_request_and_frees_its_own_place() -> None:
    one = closer()
    list(one.accepted(0, ask("r"), b"q"))
    assert reasons(one.accepted(1, ask("r", Kind.CANCEL), None)) == [(0, "cancelled"), (1, "taken")]
    assert reasons(one.accepted(2, ask("unknown", Kind.CANCEL), None)) == [(2, "taken")]


def test_the_reason_of_a_cancel_is_what_the_answer_says() -> None:
    one = closer()
    list(one.accepted(0, ask("r"), b"q"))
    ended, _ = one.accepted(1, ask("r", Kind.CANCEL), Failure("cancelled", "enough", "draft").encode())
    assert decode_failure(ended.value) == Failure("cancelled", "enough", "draft")
    list(one.accepted(2, ask("s"), b"q"))
    ended, _ = one.accepted(3, ask("s", Kind.CANCEL), None)
    assert decode_failure(ended.value) == Failure("cancelled", "the request was cancelled")


def test_a_failure_names_its_code_and_its_request() -> None:
    one = closer()
    (close,) = one.accepted(0, ask("r", Kind.ERROR), Failure("request.invalid", "no number").encode())
    assert close.value is not None
    assert json.loads(close.value)["error"] == {
        "code": "request.invalid", "stage": "", "message": "no number", "request_id": "r",
    }  # fmt: skip


def test_a_request_that_stages_drop_has_a_typed_answer() -> None:
    one = closer()
    list(one.accepted(0, ask("r"), b"q"))
    (close,) = one.answer(0, ANSWER._replace(kind=Kind.TOMBSTONE), None)
    assert (close.reason, json.loads(close.value or b"")["error"]["code"]) == ("error", "dropped")


def test_deadlines_end_what_is_still_open() -> None:
    one = closer()
    for offset, deadline in enumerate((300, 100, 200)):
        list(one.accepted(offset, ask(f"r{offset}", deadline=deadline), b"q"))
    list(one.answer(2, ANSWER, b"a"))
    assert one.next_deadline == 100
    assert reasons(one.due(250)) == [(1, "deadline")]
    assert reasons(one.due(300)) == [(0, "deadline")]


def test_deadlines_of_closed_requests_are_forgotten() -> None:
    one = closer()
    list(one.accepted(0, ask("first", deadline=7), b"q"))
    for offset in range(1, 1_000):
        list(one.accepted(offset, ask(f"r{offset}", deadline=10**9), b"q"))
        list(one.answer(offset, ANSWER, b"a"))
    assert len(one._deadlines) <= 70
    assert reasons(one.due(7)) == [(0, "deadline")]


def test_offsets_wait_for_the_transaction_that_says_so() -> None:
    one = closer()
    (error,) = one.accepted(0, ask("r0", Kind.ERROR), b"")
    list(one.accepted(1, ask("r1"), b"q"))
    assert one.committable == 0
    one.covered(error)
    assert one.committable == 1
    (answer,) = one.answer(1, ANSWER, b"a")
    assert (one.low, one.committable) == (2, 1)
    one.covered(answer)
    assert one.committable == 2


def test_what_is_decided_is_closed_before_control_says_so() -> None:
    one = closer()
    list(one.accepted(0, ask("r"), b"q"))
    assert not one.is_closed(0)
    assert not one.is_closed(1)
    list(one.answer(0, ANSWER, b"a"))
    assert one.is_closed(0)


def test_records_of_closed_requests_are_not_decided_on_again() -> None:
    closed = ClosedRequests()
    closed.on(0, ControlEntry(0, "answered", 0, 0))
    one = Closer(closed, AnsweredIds())
    assert reasons(one.accepted(0, ask("r"), b"q")) == []
    assert one.open_count == 0
