from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.factcheck.sentences import SENTENCE_CHARS_MAX, Sentences

TEXT = (
    " Bolivia is a country in South America. Its capital is La Paz. Its area is about 1.1 million sq. km. "
    "St. John's is elsewhere. Does it border Peru? It was ruled from Washington, D.C. Its people (e.g. farmers) speak "
    "U.S. English."
)
SENTENCES = [
    "Bolivia is a country in South America.",
    "Its capital is La Paz.",
    "Its area is about 1.1 million sq. km.",
    "St. John's is elsewhere.",
    "Does it border Peru?",
    "It was ruled from Washington, D.C.",
    "Its people (e.g. farmers) speak U.S. English.",
]


def split(pieces: list[str]) -> list[str]:
    sentences = Sentences()
    return [s for piece in pieces for s in sentences.feed(piece)] + list(sentences.close())


def test_decimals_abbreviations_and_initials_end_no_sentence() -> None:
    assert split([TEXT]) == SENTENCES


@given(st.lists(st.integers(0, len(TEXT)), max_size=40))
def test_cuts_of_the_text_change_nothing(cuts: list[int]) -> None:
    at = [0, *sorted(cuts), len(TEXT)]
    assert split([TEXT[i:j] for i, j in itertools.pairwise(at)]) == SENTENCES


@given(st.text(alphabet="ab A.!? \n'D", max_size=80), st.data())
def test_cuts_of_any_text_change_nothing(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    assert split([text[:cut], text[cut:]]) == split([text])


def test_a_sentence_is_given_when_the_next_one_begins() -> None:
    sentences = Sentences()
    assert list(sentences.feed("Its capital is La Paz.")) == []
    assert list(sentences.feed(" ")) == ["Its capital is La Paz."]


def test_a_text_that_was_cut_short_ends_in_no_half_claim() -> None:
    assert split(["Its capital is La Paz. Its population is about"]) == ["Its capital is La Paz."]


@pytest.mark.parametrize("piece", ["bolivian ", "x"])
def test_what_runs_on_is_discarded_and_memory_stays_bounded(piece: str) -> None:
    sentences = Sentences()
    assert [s for _ in range(5_000) for s in sentences.feed(piece)] == []
    assert len(sentences._rest) <= SENTENCE_CHARS_MAX + 1
    assert list(sentences.feed(". Its capital is La Paz. ")) == ["Its capital is La Paz."]
