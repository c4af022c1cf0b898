"""The idempotency window: what it keeps, what it forgets, and what it weighs."""

from __future__ import annotations

import tracemalloc
from collections import OrderedDict
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core import answered as module
from streams.core.answered import NOT_WRITTEN, AnsweredIds


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 5), max_size=20), size=st.integers(1, 4), committed=st.integers(0, 20))
def test_the_window_keeps_what_can_be_read_again(ids: list[int], size: int, committed: int) -> None:
    answered = AnsweredIds(size)
    for at, number in enumerate(dict.fromkeys(ids)):
        answered.take(str(number), at)
        answered.written(str(number), 100 + at, at)
    answered.forget(committed)
    kept = [at for at, number in enumerate(dict.fromkeys(ids)) if str(number) in answered]
    total = len(set(ids))
    assert all(at in kept for at in range(total) if at >= committed)
    assert all(at in kept for at in range(max(0, total - size), total))
    assert len(kept) <= max(size, total - min(committed, total))
    assert answered.position(999) == (100 + kept[0] if kept else 999)


def test_a_successor_starts_at_the_next_answer_while_nothing_is_written() -> None:
    answered = AnsweredIds()
    answered.take("r", 0)
    assert answered.position(7) == 7


def test_what_a_transaction_that_may_be_aborted_answers_pushes_nothing_out() -> None:
    answered = AnsweredIds(1)
    answered.take("old", 0)
    answered.written("old", 0, 0)
    answered.take("new", 1)
    answered.forget(2)
    assert answered.position(1) == 0
    answered.written("new", 1, 1)
    answered.forget(2)
    assert answered.position(2) == 1


def test_an_answered_id_stays_one_until_its_repetition_is_committed_too() -> None:
    answered = AnsweredIds(1)
    answered.take("old", 0)
    assert answered.repeated("old", 2)
    answered.written("old", 0, 0)
    answered.written("new", 1, 1)
    answered.forget(2)
    assert answered.position(2) == 0
    answered.forget(3)
    assert answered.position(2) == 1
    assert not answered.repeated("old", 4)


class Model:
    """The same, as one would write it without a thought for memory."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.found: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def take(self, request_id: str, accepted: int) -> None:
        self.found.setdefault(request_id, (NOT_WRITTEN, accepted))

    def written(self, request_id: str, answers: int, accepted: int) -> None:
        _, known = self.found.get(request_id, (NOT_WRITTEN, accepted))
        self.found[request_id] = (answers, max(known, accepted))

    def repeated(self, request_id: str, accepted: int) -> bool:
        if request_id not in self.found:
            return False
        answers, known = self.found[request_id]
        self.found[request_id] = (answers, max(known, accepted))
        return True

    def forget(self, committed: int) -> None:
        while sum(answers != NOT_WRITTEN for answers, _ in self.found.values()) > self.size:
            first, (answers, accepted) = next(iter(self.found.items()))
            if accepted >= committed or answers == NOT_WRITTEN:
                return
            del self.found[first]

    def position(self, default: int) -> int:
        first = next((answers for answers, _ in self.found.values()), NOT_WRITTEN)
        return default if first == NOT_WRITTEN else first


steps = st.lists(
    st.tuples(st.sampled_from(("take", "written", "repeated", "forget")), st.integers(0, 60), st.integers(0, 40)),
    max_size=200,
)


@settings(deadline=None)
@given(steps=steps, size=st.integers(1, 30), tables=st.sampled_from((1, 4)), chunk=st.sampled_from((4, 16)))
def test_it_does_what_a_plain_dictionary_would(
    steps: list[tuple[str, int, int]], size: int, tables: int, chunk: int
) -> None:
    # Few tables and short chunks: ids meet in one table, tables grow, chunks are dropped. Numbers wrap around, too.
    with patch.multiple(module, TABLES=tables, CHUNK_ENTRIES=chunk, NUMBERS=101):
        ids, model = AnsweredIds(size), Model(size)
        for at, (what, number, offset) in enumerate(steps):
            if what == "forget":
                ids.forget(offset)
                model.forget(offset)
            elif what == "take":
                ids.take(str(number), offset)
                model.take(str(number), offset)
            elif what == "repeated":
                assert ids.repeated(str(number), offset) == model.repeated(str(number), offset)
            else:
                ids.written(str(number), at, offset)
                model.written(str(number), at, offset)
            assert len(ids) == len(model.found)
            assert ids.position(777) == model.position(777)
        assert [str(n) in ids for n in range(61)] == [str(n) in model.found for n in range(61)]


def test_a_hundred_thousand_ids_take_little_memory() -> None:
    tracemalloc.start()
    try:
        ids = AnsweredIds()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(100_000):
            ids.take(str(number), number)
            ids.written(str(number), number, number)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / 100_000 < 60, "bytes an id"
    assert "99999" in ids
    assert "100000" not in ids
