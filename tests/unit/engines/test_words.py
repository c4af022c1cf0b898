"""Words of the simulation, and stop strings across chunk boundaries."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from workers.engines.words import StopFilter, Words, tokens_of


class TestWords:
    def test_a_text_is_a_function_of_prompt_and_key(self) -> None:
        def text(prompt: str, key: str) -> str:
            words = Words(prompt, key)
            return "".join(words.word(position) for position in range(30))

        assert text("p", "k") == text("p", "k")
        assert len({text("p", "k"), text("p", "other"), text("other", "k")}) == 3

    def test_a_word_is_one_token(self) -> None:
        words = Words("p", "k")
        assert all(len(tokens_of(words.word(position))) == 1 for position in range(200))

    def test_sentences_end(self) -> None:
        words = Words("p", "k")
        assert "".join(words.word(position) for position in range(18)).count(".") == 2

    @given(st.text(max_size=200))
    def test_tokens_cover_the_text(self, text: str) -> None:
        assert len(tokens_of(text)) >= len(text.strip()) / 13 - 1
        assert tokens_of(text) == tokens_of(text)


class TestStopFilter:
    @given(
        st.text("ab.", max_size=30),
        st.lists(st.text("ab.", min_size=1, max_size=3), max_size=3),
        st.lists(st.integers(0, 30), max_size=8),
    )
    def test_chunk_boundaries_do_not_matter(self, text: str, stops: list[str], cuts: list[int]) -> None:
        edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
        stop, shown = StopFilter(stops), ""
        for begin, end in itertools.pairwise(edges):
            if not stop.stopped:
                shown += stop.push(text[begin:end])
        shown += "" if stop.stopped else stop.flush()
        hits = [at for word in stops if (at := text.find(word)) >= 0]
        assert stop.stopped == bool(hits)
        if hits:
            assert text.startswith(shown)
            assert not any(word in shown for word in stops)
        else:
            assert shown == text
