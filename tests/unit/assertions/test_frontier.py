"""The time up to which everything was read never passes a record that was not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assertions.core.frontier import Frontier, Place, Question

A, B = ("p.draft", 0), ("p.draft", 1)


def asked(at: float, ends: Mapping[Place, int]) -> Question:
    return Question(at, at, ends)


def test_a_partition_of_which_nothing_is_known_holds_back() -> None:
    frontier = Frontier([A, B])
    frontier.read(A, 0, 10.0)
    assert frontier.until == -math.inf


def test_the_end_alone_says_nothing_about_time() -> None:
    frontier = Frontier([A, B])
    frontier.read(A, 0, 10.0)
    frontier.ended(B, 3)
    assert frontier.until == -math.inf
    frontier.answer(asked(20.0, {A: 1, B: 3}))
    assert frontier.until == 20.0
    assert frontier.complete_at == 20.0


def test_an_answer_holds_once_everything_was_read_that_it_speaks_of() -> None:
    frontier = Frontier([A, B])
    frontier.ended(A, 0)
    frontier.ended(B, 0)
    frontier.answer(asked(20.0, {A: 0, B: 2}))
    assert not frontier.is_answered
    frontier.read(B, 0, 18.0)
    assert frontier.until == 18.0
    frontier.read(B, 1, 19.0)
    assert (frontier.until, frontier.complete_at, frontier.is_answered) == (20.0, 20.0, True)


def test_records_of_other_topics_do_not_count() -> None:
    frontier = Frontier([A])
    frontier.read(("p.answers", 0), 7, 50.0)
    frontier.ended(("p.control", 0), 7)
    frontier.read(A, 0, 10.0)
    assert frontier.until == 10.0


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2)),
        st.tuples(st.just("read"), st.integers(0, 2)),
        st.tuples(st.just("ask"), st.just(0)),
        st.tuples(st.just("answer"), st.just(0)),
    ),
    max_size=60,
)


@given(steps)
def test_nothing_unread_is_earlier_than_the_frontier(schedule: Sequence[tuple[str, int]]) -> None:
    """Partitions are appended to and read in any order, and questions are answered at any time later."""
    places = [("p.s", n) for n in range(3)]
    frontier = Frontier(places)
    written: dict[Place, list[float]] = {place: [] for place in places}
    position = dict.fromkeys(places, 0)
    waiting: list[Question] = []
    for now, (what, number) in enumerate(schedule):
        place = places[number]
        match what:
            case "append":
                written[place].append(float(now))
            case "read" if position[place] < len(written[place]):
                frontier.read(place, position[place], written[place][position[place]])
                position[place] += 1
            case "read":
                frontier.ended(place, position[place])
            case "ask":
                waiting.append(asked(float(now), {p: len(times) for p, times in written.items()}))
            case "answer" if waiting:
                frontier.answer(waiting.pop(0))
        unread = [time for p, times in written.items() for time in times[position[p] :]]
        assert frontier.until <= min(unread, default=math.inf)
        assert frontier.complete_at <= min(unread, default=math.inf)
    frontier.answer(asked(len(schedule), {p: len(times) for p, times in written.items()}))
    for place in places:
        for offset in range(position[place], len(written[place])):
            frontier.read(place, offset, written[place][offset])
        frontier.ended(place, len(written[place]))
    assert frontier.until == pytest.approx(len(schedule)), "and it comes as far as it was asked"
