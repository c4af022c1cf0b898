"""What arrives, and what it is asked with."""

from __future__ import annotations

import itertools
import statistics

import pytest

from benchmarks.headline import prompts, texts
from benchmarks.headline.dummy_llama import VOCABULARY, kv_bytes_per_token, vocabulary, weight_bytes
from benchmarks.headline.workload import Ask, Sizes, Workload
from workers.engines.words import tokens_of

WORKLOAD = Workload(Sizes(), seed=7, document=True)


def lengths(ask: Ask) -> object:
    return ask.draft_tokens, ask.claims, ask.report_tokens, len(ask.question), len(ask.document)


def test_the_same_seed_gives_the_same_requests_with_other_texts() -> None:
    one = list(itertools.islice(WORKLOAD.requests("a"), 20))
    two = list(itertools.islice(WORKLOAD.requests("b"), 20))
    assert [lengths(a) for a in one] == [lengths(b) for b in two]
    assert all(a.question != b.question and a.document != b.document for a, b in zip(one, two, strict=True))
    assert len({a.salt for a in one}) == 20


def test_variants_differ_by_the_document_alone() -> None:
    plain = Workload(Sizes(), seed=7, document=False)
    for mine, theirs in itertools.islice(zip(WORKLOAD.requests("a"), plain.requests("a"), strict=True), 20):
        assert mine.document
        assert not theirs.document
        assert mine.model_copy(update={"document": ""}) == theirs


def test_rates_differ_by_the_time_between_the_same_requests() -> None:
    slow = WORKLOAD.arrivals("a", rate=1.0, seconds=100.0)
    fast = WORKLOAD.arrivals("a", rate=2.0, seconds=50.0)
    assert [a.ask for a in slow] == [a.ask for a in fast]
    assert [a.at for a in slow] == pytest.approx([2 * a.at for a in fast])
    assert 70 < len(slow) < 130
    assert all(0 < a.at < 100 for a in slow)


def test_lengths_are_as_said_on_average() -> None:
    asks = list(itertools.islice(WORKLOAD.requests("a"), 400))
    assert statistics.fmean(a.draft_tokens for a in asks) == pytest.approx(180, rel=0.1)
    assert statistics.fmean(len(a.claims) for a in asks) == pytest.approx(6, rel=0.1)
    assert statistics.fmean(len(tokens_of(a.document)) for a in asks) == pytest.approx(2_400, rel=0.1)


def test_every_claim_ends_within_its_draft() -> None:
    for ask in itertools.islice(WORKLOAD.requests("a"), 200):
        ends = [claim.ends_at for claim in ask.claims]
        assert ends == sorted(ends)
        assert ends[0] > 0
        assert ends[-1] <= ask.draft_tokens


def test_a_slower_clock_makes_searches_longer_in_real_time() -> None:
    slowed = Workload(Sizes(), seed=7, document=True, speed=0.5)
    mine, theirs = next(WORKLOAD.requests("a")), next(slowed.requests("a"))
    assert theirs.claims[0].retrieve_seconds == pytest.approx(2 * mine.claims[0].retrieve_seconds)


def test_texts_have_as_many_tokens_as_words() -> None:
    text = texts.words("anything", 500)
    assert len(tokens_of(text)) == 500
    assert len(text) == 2_000
    assert text == texts.words("anything", 500) != texts.words("else", 500)


def test_only_a_planned_prompt_says_how_long_its_text_will_be() -> None:
    assert texts.planned_tokens(texts.planned(" abc def", 60)) == 60
    assert texts.planned_tokens(" abc =60 def") is None


def test_claims_are_the_words_between_their_ends() -> None:
    ask = next(WORKLOAD.requests("a"))
    draft = texts.words("draft", ask.draft_tokens)
    claims = [prompts.claim_text(draft, ask, i) for i in range(len(ask.claims))]
    assert "".join(claims) == texts.first_words(draft, ask.claims[-1].ends_at)


def test_siblings_share_template_and_document() -> None:
    ask = next(WORKLOAD.requests("a"))
    one, two = (prompts.verify_prompt(ask.document, f" {c}aa", " bbb", ask.claims[0]) for c in "xy")
    shared = next(i for i, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
    assert shared > 4 * Sizes().verify_template + len(ask.document)


@pytest.mark.parametrize("size", VOCABULARY)
def test_a_dummy_models_vocabulary_has_every_word_once(size: str) -> None:
    tokens = vocabulary(VOCABULARY[size])
    assert len(set(tokens)) == len(tokens) == VOCABULARY[size]
    assert set(texts.WORDS) <= set(tokens)


def test_model_sizes_are_what_they_are_called() -> None:
    parameters = {size: weight_bytes(size) / 2e9 for size in VOCABULARY}
    assert parameters["1b"] == pytest.approx(1.5, abs=0.1)  # 1.24 where embedding and head are one, as published
    assert parameters["3b"] == pytest.approx(3.6, abs=0.1)
    assert parameters["8b"] == pytest.approx(8.0, abs=0.1)
    assert kv_bytes_per_token("8b") == 131_072
