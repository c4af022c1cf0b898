from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.failure import Failure, decode_failure
from streams.core.ingress import DEADLINE_FACTOR_MAX, REASON_CHARS_MAX, Ingress, IngressLimits
from streams.core.record import Kind


def refuse(value: bytes) -> bytes:
    if value == b"bad":
        raise ValueError("field 'text' is missing")
    return value


INGRESS = Ingress("plan", refuse, IngressLimits(request_bytes_max=100, deadline_seconds=10))


@given(key=st.none() | st.binary(max_size=250), value=st.none() | st.binary(max_size=120), extra=st.binary(max_size=20))
def test_anything_becomes_one_record_with_an_id_and_a_deadline(
    key: bytes | None, value: bytes | None, extra: bytes
) -> None:
    headers = {"deadline": extra, "timeout-ms": extra, "kind": extra, "traceparent": extra}
    found = INGRESS.accept(3, 14, key, value, headers, 1_000)
    again = INGRESS.accept(3, 14, key, value, headers, 1_000)
    assert found == again, "a repetition after a crash must be the same request"
    assert found.envelope.id
    assert found.envelope.deadline <= 1_000 + 10 * 1_000 * DEADLINE_FACTOR_MAX
    assert found.envelope.headers()


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        (b"r", b"", "request.empty"),
        (b"r", None, "request.empty"),
        (b"r", b"." * 101, "limits.request"),
        (b"r", b"bad", "request.invalid"),
        (b"\xff", b"q", "request.id"),
        (b"." * 201, b"q", "request.id"),
        (b"a\nb", b"q", "request.id"),
    ],
)
def test_what_cannot_be_used_becomes_a_typed_error(key: bytes, value: bytes | None, code: str) -> None:
    found = INGRESS.accept(0, 5, key, value, {}, 0)
    assert found.envelope.kind is Kind.ERROR
    assert found.dead is not None
    assert json.loads(found.value or b"")["error"]["code"] == code == found.dead.code


def test_a_record_without_a_key_is_called_by_its_place() -> None:
    assert INGRESS.accept(2, 9, None, b"q", {}, 0).envelope.id == "2-9"


def test_a_cancel_needs_no_value() -> None:
    found = INGRESS.accept(0, 1, b"r", None, {"kind": b"cancel"}, 0)
    assert (found.envelope.kind, found.value) == (Kind.CANCEL, None)


def test_the_reason_of_a_cancel_is_handed_on_and_its_code_is_not_chosen_by_the_client() -> None:
    headers = {"kind": b"cancel", "reason": b"assertion x\nended it", "stage": b"draft", "code": b"deadline"}
    failure = decode_failure(INGRESS.accept(0, 1, b"r", None, headers, 0).value)
    assert failure == Failure("cancelled", "assertion x ended it", "draft")
    long = decode_failure(INGRESS.accept(0, 1, b"r", None, {"kind": b"cancel", "reason": b"." * 9_999}, 0).value)
    assert len(long.message) == REASON_CHARS_MAX
    odd = INGRESS.accept(0, 1, b"r", None, {"kind": b"cancel", "reason": b"\xff", "stage": b"no stage"}, 0)
    assert decode_failure(odd.value).stage == ""


@pytest.mark.parametrize(
    ("headers", "deadline"),
    [
        ({}, 11_000),
        ({"timeout-ms": b"500"}, 1_500),
        ({"deadline": b"7000"}, 7_000),
        ({"deadline": b"soon", "timeout-ms": b"500"}, 1_500),
        ({"timeout-ms": b"999999999"}, 121_000),
    ],
)
def test_every_request_has_a_deadline(headers: dict[str, bytes], deadline: int) -> None:
    assert INGRESS.accept(0, 1, b"r", b"q", headers, 1_000).envelope.deadline == deadline
