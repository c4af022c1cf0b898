"""A text is a function of the log order alone, and of nothing that two writers wrote (PROTOCOL §5.5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.lineage import RunId
from streams.core.record import Envelope, Kind
from streams.core.text import Change, Piece, Text, decode_piece, encode_piece
from streams.errors import RecordError

W1, W2, W3 = RunId(1, 1), RunId(2, 1), RunId(3, 1)


def chunk(w: RunId, position: int, *ids: int, base: RunId | None = None) -> tuple[Envelope, Piece]:
    envelope = Envelope("r", Kind.CHUNK, position=position, base=base or w, w=w)
    return envelope, Piece(position, "x" * len(ids), ids, len(ids))


def end(w: RunId, total: int, base: RunId | None = None) -> tuple[Envelope, None]:
    return Envelope("r", Kind.END, total=total, base=base or w, w=w), None


def fence(w: RunId, base: RunId) -> tuple[Envelope, None]:
    return Envelope("r", Kind.FENCE, base=base, w=w), None


def read(*records: tuple[Envelope, Piece | None]) -> Text:
    text = Text()
    for envelope, piece in records:
        text.on(envelope, piece)
    return text


def test_chunks_add_up_to_the_end() -> None:
    text = read(chunk(W1, 0, 1, 2), chunk(W1, 2, 3), end(W1, 3))
    assert (text.token_ids, text.end, text.is_over) == ((1, 2, 3), 3, True)


def test_what_is_in_flight_lands_behind_the_fence_and_is_dropped() -> None:
    text = read(
        chunk(W1, 0, 1, 2), fence(W2, W1), chunk(W1, 2, 3), end(W1, 3), chunk(W2, 2, 7, base=W1), end(W2, 3, W1)
    )
    assert (text.token_ids, text.base, text.is_over) == ((1, 2, 7), W1, True)


def test_a_newer_writer_without_a_fence_starts_over() -> None:
    text = read(chunk(W1, 0, 1, 2), end(W1, 2))
    assert text.on(*chunk(W2, 0, 9)) is Change.RESTARTED
    assert (text.token_ids, text.base, text.is_over) == ((9,), W2, False)


def test_an_older_restart_behind_a_fence_is_dropped() -> None:
    text = read(chunk(W1, 0, 1), fence(W3, W1), chunk(W2, 0, 5), chunk(W3, 1, 2, base=W1))
    assert text.token_ids == (1, 2)


def test_a_fence_finds_the_base_that_the_log_has() -> None:
    """A restart landed between the look and the fence: its writer continues that text, not the one it had seen."""
    text = read(chunk(W1, 0, 1), chunk(W2, 0, 5), fence(W3, W1))
    assert (text.base, text.token_ids) == (W2, (5,))


def test_overlap_is_dropped() -> None:
    text = read(chunk(W1, 0, 1, 2), chunk(W1, 0, 1, 2), chunk(W1, 2, 3))
    assert text.token_ids == (1, 2, 3)


def test_nothing_follows_a_gap_until_another_writer_comes() -> None:
    text = read(chunk(W1, 0, 1))
    assert text.on(*chunk(W1, 2, 3)) is Change.GAP
    assert text.on(*end(W1, 3)) is Change.GAP
    assert (text.token_ids, text.is_over) == ((1,), False)
    assert read(chunk(W1, 0, 1), chunk(W1, 2, 3), fence(W2, W1), chunk(W2, 1, 8, base=W1)).token_ids == (1, 8)


def test_an_error_ends_a_text() -> None:
    text = read(chunk(W1, 0, 1), (Envelope("r", Kind.ERROR, base=W1, w=W1), None))
    assert (text.is_over, text.failed, text.end) == (True, True, None)


@given(st.data())
def test_no_interleaving_of_fenced_writers_mixes_two_texts(data: st.DataObject) -> None:
    """Each writer continues what its fence shows it, in every order in which the links may deliver."""
    log: list[tuple[Envelope, Piece | None]] = []
    flights: dict[RunId, list[tuple[Envelope, Piece | None]]] = {}
    parents: dict[int, int] = {}
    next_id = 0
    for n in range(1, data.draw(st.integers(2, 4)) + 1):
        w = RunId(n, 1)
        if log and data.draw(st.booleans()):
            log.append(fence(w, read(*log).base or w))
            seen = read(*log)
            position, parent, base = seen.length, (seen.token_ids or (-1,))[-1], seen.base or w
        else:
            position, parent, base = 0, -1, w
        flight: list[tuple[Envelope, Piece | None]] = []
        for _ in range(data.draw(st.integers(0, 3))):
            parents[next_id] = parent
            flight.append(chunk(w, position, next_id, base=base))
            position, parent, next_id = position + 1, next_id, next_id + 1
        flights[w] = [*flight, end(w, position, base)]
        for _ in range(data.draw(st.integers(0, 4))):
            links = [link for link in flights.values() if link]
            if links:
                log.append(data.draw(st.sampled_from(links)).pop(0))
    text = read(*log)
    assert [parents[i] for i in text.token_ids] == [-1, *text.token_ids][: len(text.token_ids)]


@given(
    text=st.text(max_size=20),
    ids=st.lists(st.integers(0, 2**31), min_size=1, max_size=5).map(tuple),
    position=st.integers(0, 1_000),
)
def test_a_piece_is_read_as_it_was_written(text: str, ids: tuple[int, ...], position: int) -> None:
    piece = Piece(position, text, ids, len(ids), ({"a": -0.5},) * len(ids))
    assert decode_piece(position, encode_piece(piece)) == piece


def test_a_piece_without_ids_says_how_many_tokens_it_has() -> None:
    piece = Piece(4, "some words", (), 3)
    assert decode_piece(4, encode_piece(piece)) == piece


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[]", b'{"text": "a"}', b'{"text": 1, "ids": [1]}', b'{"text": "", "ids": []}']
)
def test_what_is_no_chunk_is_refused(value: bytes | None) -> None:
    with pytest.raises(RecordError) as refused:
        decode_piece(0, value)
    assert refused.value.code == "record.text"


@pytest.mark.parametrize("kind", [Kind.CHUNK, Kind.END])
def test_a_text_record_without_a_writer_is_refused(kind: Kind) -> None:
    with pytest.raises(RecordError):
        Text().on(Envelope("r", kind), None)
