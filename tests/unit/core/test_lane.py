from __future__ import annotations

from collections.abc import Iterable
from itertools import count

from streams.core.failure import Failure
from streams.core.lane import Fence, Generate, Halt, Lane, LaneEffect, Look, Write, Writing
from streams.core.lineage import RunId, Serial
from streams.core.record import Envelope, Kind
from streams.core.text import Piece, encode_piece

EPOCH = 5
OLD = RunId(4, 1)


def prompt(run: int = 1, node: int = 0, kind: Kind = Kind.ITEM) -> Envelope:
    return Envelope("r", kind, Serial(0, node), "plan", "draft", (), (RunId(1, run),))


def new_lane(*, can_resume: bool = True, closed: bool = False) -> Lane:
    counter = count(1)
    return Lane(
        epoch=EPOCH,
        position=0,
        next_n=lambda: next(counter),
        is_closed=lambda pipeline, serial: closed,
        can_resume=can_resume,
    )


def replayed(*, can_resume: bool = True) -> tuple[Lane, Look]:
    lane = new_lane(can_resume=can_resume)
    assert list(lane.record(0, "p", prompt(), b"q")) == []
    (look,) = lane.caught_up()
    assert isinstance(look, Look)
    return lane, look


def old_chunk(position: int, *ids: int, w: RunId = OLD) -> tuple[Envelope, bytes]:
    envelope = prompt()._replace(kind=Kind.CHUNK, position=position, base=OLD, w=w)
    return envelope, encode_piece(Piece(position, "x", ids, len(ids)))


def generation(effects: Iterable[LaneEffect]) -> Writing:
    (found,) = effects
    assert isinstance(found, Generate)
    return found.writing


def test_a_fresh_prompt_is_generated_at_once() -> None:
    lane = new_lane()
    list(lane.caught_up())
    writing = generation(lane.record(0, "p", prompt(), b"q"))
    assert (writing.w, writing.base, writing.resume) == (RunId(EPOCH, 1), RunId(EPOCH, 1), ())
    (first,) = lane.tokens(writing, Piece(0, "ab", (1, 2), 2))
    (last,) = lane.ended(writing)
    assert (first.envelope.position, last.envelope.kind, last.envelope.total) == (0, Kind.END, 2)
    lane.acked(writing)
    assert lane.committable()[0] == 0
    lane.acked(writing)
    assert lane.committable()[0] == 1
    assert lane.open_prompts == 0


def test_an_unwritten_prompt_of_a_predecessor_starts_from_nothing() -> None:
    lane, look = replayed()
    assert generation(lane.looked(look.prompt)).length == 0


def test_a_half_written_text_is_continued_behind_a_fence() -> None:
    lane, look = replayed()
    lane.seen(look.prompt, *old_chunk(0, 1, 2))
    (fence,) = lane.looked(look.prompt)
    assert isinstance(fence, Fence)
    assert (fence.envelope.kind, fence.envelope.base, fence.envelope.w) == (Kind.FENCE, OLD, RunId(EPOCH, 1))
    lane.seen(look.prompt, *old_chunk(2, 3))  # it was in flight and landed before the fence
    lane.seen(look.prompt, fence.envelope, None)
    writing = generation(lane.fenced(fence.writing))
    assert (writing.resume, writing.length, writing.base) == ((1, 2, 3), 3, OLD)
    (write,) = lane.tokens(writing, Piece(3, "d", (4,), 1))
    assert (write.envelope.position, write.envelope.base, write.envelope.w) == (3, OLD, RunId(EPOCH, 1))


def test_an_ended_text_is_fenced_too_and_then_finished() -> None:
    lane, look = replayed(can_resume=False)
    lane.seen(look.prompt, *old_chunk(0, 1))
    lane.seen(look.prompt, prompt()._replace(kind=Kind.END, total=1, base=OLD, w=OLD), None)
    (fence,) = lane.looked(look.prompt)
    assert isinstance(fence, Fence)
    assert lane.open_prompts == 1
    assert list(lane.fenced(fence.writing)) == []
    assert lane.open_prompts == 0


def test_an_engine_that_cannot_continue_starts_over_as_a_new_base() -> None:
    lane, look = replayed(can_resume=False)
    lane.seen(look.prompt, *old_chunk(0, 1, 2))
    writing = generation(lane.looked(look.prompt))
    assert (writing.base, writing.length) == (writing.w, 0)


def test_a_text_without_token_ids_cannot_be_continued() -> None:
    lane, look = replayed()
    envelope, _ = old_chunk(0, 1)
    lane.seen(look.prompt, envelope, encode_piece(Piece(0, "words", (), 2)))
    assert generation(lane.looked(look.prompt)).resume == ()


def test_a_restart_behind_an_own_fence_is_a_new_writer() -> None:
    """With the fence's own w its first tokens would be dropped as overlap."""
    lane, look = replayed()
    lane.seen(look.prompt, *old_chunk(0, 1, 2))
    (fence,) = lane.looked(look.prompt)
    assert isinstance(fence, Fence)
    other = prompt()._replace(kind=Kind.CHUNK, position=0, base=RunId(4, 9), w=RunId(4, 9))
    lane.seen(look.prompt, other, encode_piece(Piece(0, "no ids", (), 1)))
    lane.seen(look.prompt, fence.envelope, None)
    writing = generation(lane.fenced(fence.writing))
    assert writing.w > fence.writing.w
    assert writing.base == writing.w


def test_somebody_newer_keeps_the_text() -> None:
    lane, look = replayed()
    lane.seen(look.prompt, *old_chunk(0, 1, w=RunId(EPOCH + 1, 1)))
    assert list(lane.looked(look.prompt)) == []
    assert lane.committable()[0] == 0


def test_a_refused_record_makes_a_new_writer_after_another_look() -> None:
    lane = new_lane()
    list(lane.caught_up())
    writing = generation(lane.record(0, "p", prompt(), b"q"))
    list(lane.tokens(writing, Piece(0, "ab", (1, 2), 2)))
    halt, look = lane.refused(writing)
    assert isinstance(halt, Halt)
    assert isinstance(look, Look)
    assert list(lane.tokens(writing, Piece(2, "c", (3,), 1))) == []
    assert list(lane.refused(writing)) == []
    assert generation(lane.looked(look.prompt)).w > writing.w


def test_a_higher_prompt_run_and_a_cancel_drop_the_lower() -> None:
    lane = new_lane()
    list(lane.caught_up())
    list(lane.record(0, "p", prompt(1), b"q"))
    halt, start = lane.record(1, "p", prompt(2), b"q")
    assert isinstance(halt, Halt)
    assert isinstance(start, Generate)
    assert list(lane.record(2, "p", prompt(1), b"q")) == []
    (halted,) = lane.record(3, "p", prompt(3, kind=Kind.CANCEL), None)
    assert isinstance(halted, Halt)
    assert lane.committable()[0] == 4


def test_a_cancel_leaves_other_nodes_and_higher_runs_alone() -> None:
    lane = new_lane()
    list(lane.caught_up())
    list(lane.record(0, "p", prompt(3), b"q"))
    assert list(lane.record(1, "p", prompt(2, kind=Kind.CANCEL), None)) == []
    assert list(lane.record(2, "p", prompt(9, node=1, kind=Kind.CANCEL), None)) == []
    assert lane.open_prompts == 1


def test_a_closed_request_frees_its_prompts() -> None:
    lane = new_lane()
    list(lane.caught_up())
    writing = generation(lane.record(0, "p", prompt(), b"q"))
    assert list(lane.closed("other", Serial(0, 0))) == []
    (halt,) = lane.closed("p", Serial(0, 0))
    assert isinstance(halt, Halt)
    assert list(lane.ended(writing)) == []
    assert lane.open_prompts == 0
    assert list(new_lane(closed=True).record(0, "p", prompt(), b"q")) == []


def test_an_engine_that_refuses_the_prompt_ends_the_text_in_an_error() -> None:
    lane = new_lane()
    list(lane.caught_up())
    writing = generation(lane.record(0, "p", prompt(), b"q"))
    (write,) = lane.ended(writing, Failure("model.prompt", "too long", "draft"))
    assert isinstance(write, Write)
    assert (write.envelope.kind, write.envelope.w) == (Kind.ERROR, writing.w)
    lane.acked(writing)
    assert lane.open_prompts == 0


def test_it_writes_only_what_is_its_own_text() -> None:
    _, look = replayed()
    mine, _ = old_chunk(0, 1)
    assert look.prompt.is_text_of(mine)
    assert not look.prompt.is_text_of(mine._replace(lin=(RunId(1, 2),)))
    assert not look.prompt.is_text_of(mine._replace(w=None))
    assert not look.prompt.is_text_of(mine._replace(serial=Serial(0, 1)))
