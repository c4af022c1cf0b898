from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.lineage import RunId, Serial
from streams.core.record import HEADER_BYTES_MAX, Envelope, Kind, parse_envelope
from streams.errors import RecordError

runs = st.builds(RunId, st.integers(0, 2**40), st.integers(0, 2**40))
names = st.text("abcdefghij-_0123456789", min_size=1, max_size=12)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    kind = draw(st.sampled_from(list(Kind)))
    has_writer = draw(st.booleans())
    return Envelope(
        id=draw(st.text(min_size=1, max_size=30)),
        kind=kind,
        serial=draw(st.none() | st.builds(Serial, st.integers(0, 99), st.integers(0, 2**40))),
        plan=draw(names),
        stage=draw(names),
        path=tuple(draw(st.lists(st.integers(0, 10_000), max_size=4))),
        lin=tuple(draw(st.lists(runs, min_size=1, max_size=5))),
        deadline=draw(st.integers(0, 2**44)),
        traceparent=draw(st.sampled_from(["", "0" * 55])),
        hold=draw(st.booleans()),
        total=draw(st.integers(0, 10_000)) if kind is Kind.END else 0,
        position=draw(st.integers(0, 10_000)) if kind is Kind.CHUNK else 0,
        base=draw(runs) if has_writer else None,
        w=draw(runs) if has_writer else None,
        digests=tuple(draw(st.lists(st.tuples(names, st.integers(0, 2**64 - 1)), max_size=3))),
    )


def written(envelope: Envelope) -> list[tuple[str, bytes | None]]:
    """As a broker hands headers back: bytes only."""
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in envelope.headers()]


@given(envelope=envelopes())
def test_an_envelope_is_read_as_it_was_written(envelope: Envelope) -> None:
    assert parse_envelope(written(envelope)) == envelope


@given(raw=st.lists(st.tuples(st.sampled_from(["id", "kind", "serial", "plan", "path", "lin", "w", "x"]), st.binary())))
def test_foreign_headers_are_refused_and_never_anything_else(raw: list[tuple[str, bytes]]) -> None:
    with pytest.raises(RecordError):
        parse_envelope(raw)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", b"items"),
        ("serial", b"1"),
        ("path", b"-1"),
        ("lin", b"1-1,x"),
        ("deadline", b"soon"),
        ("deadline", b"9" * 19),
        ("count", b"-1"),
        ("digests", b"a=xyz"),
        ("id", b"\xff"),
        ("plan", b"\xff"),
    ],
)
def test_one_bad_header_refuses_the_record(name: str, value: bytes) -> None:
    good = Envelope("r", Kind.END, Serial(0, 1), "p", "s", (1,), (RunId(1, 1),), digests=(("a", 1),), total=1)
    headers = dict(written(good)) | {name: value}
    with pytest.raises(RecordError) as refused:
        parse_envelope(list(headers.items()))
    assert refused.value.code == "record.envelope"


def test_headers_are_bounded() -> None:
    with pytest.raises(RecordError):
        parse_envelope([*written(Envelope("r", Kind.ITEM)), ("x", b"." * HEADER_BYTES_MAX)])


def test_headers_are_readable_text() -> None:
    envelope = Envelope("r1", Kind.END, Serial(2, 7), "ab12", "claims", (), (RunId(5, 1), RunId(6, 2)), 99, total=3)
    assert dict(envelope.headers()) == {
        "id": b"r1", "kind": b"end", "serial": b"2:7", "plan": b"ab12", "stage": b"claims", "path": b"",
        "lin": b"5-1,6-2", "deadline": b"99", "count": b"3",
    }  # fmt: skip
