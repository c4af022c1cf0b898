"""What a decision becomes on the pipeline's topics, and which decisions are refused before anything runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from assertions import Flag, FlagState, Observation, Registry, Severity, assertion, evaluate
from assertions.errors import AssertionSetupError
from assertions.processor.enforcing import Enforcer, Order, check_enforceable
from streams import Pipeline, Prompt, Stream
from streams.core.lineage import RunId, Serial
from streams.core.record import Kind, parse_envelope
from streams.core.revision import decode_revision

made = Pipeline("enforcing")


class Note(BaseModel):
    text: str


@made.model("writer")
def draft(question: Note) -> Prompt:
    return Prompt(text=question.text)


@made.stage
async def lines(text: Stream[str]) -> AsyncIterator[Note]:
    async for piece in text:
        yield Note(text=piece)


@made.stage
def checked(line: Note) -> Note:
    return line


@made.stage
async def together(found: Stream[Note]) -> Note:
    return Note(text=" ".join([each.text async for each in found]))


@made.flow
def flow(question: Note) -> Note:
    return together(checked(lines(draft(question))))


PLANS = {"enforcing": made.plan}


def flagged(on: Any, *, path: str, run: str, value: Any = "x", revisions: int = 0, **options: Any) -> Flag:
    """As a processor raises it: provisional."""
    registry = Registry()
    instead = options.pop("instead", None)
    assertion(on=on, name="says", registry=registry, **options)(lambda v: Severity(1, "too loud", instead=instead))
    stage = next(iter(registry)).stages[-1]
    observation = Observation(
        "enforcing", (stage,), (value,), "1:7", path, 5.0, request="r", run=run, plan="p1", revisions=revisions
    )
    [flag] = evaluate(registry, [observation]).flags
    return flag.model_copy(update={"data": flag.data.model_copy(update={"state": FlagState.PROVISIONAL})})


def taken(*flags: Flag) -> tuple[list[Flag], list[Order]]:
    return Enforcer(PLANS).take(flags)


def test_an_abort_cancels_the_request_once() -> None:
    flag = flagged(draft, path="", run="1-1", enforce="abort")
    other = flag.model_copy(update={"id": "another"})
    written, orders = taken(flag, other)
    assert written == [flag, other]
    [order] = orders
    assert (order.topic, order.key, order.value) == ("enforcing.requests", "r", None)
    assert dict(order.headers)["kind"] == b"cancel"
    assert flag.id.encode() in (dict(order.headers)["reason"] or b"")


def test_a_retry_of_a_text_goes_where_its_stage_reads_the_request() -> None:
    flag = flagged(draft, path="", run="1-1", enforce="retry")
    [order] = taken(flag)[1]
    envelope = parse_envelope([(name, bytes(value or b"")) for name, value in order.headers])  # type: ignore[arg-type]
    assert (order.topic, order.key) == ("enforcing.accepted", "r")
    assert (envelope.kind, envelope.stage, envelope.path) == (Kind.REVISE, "draft", ())
    assert (envelope.serial, envelope.lin, envelope.plan) == (Serial(1, 7), (RunId(1, 1),), "p1")
    revision = decode_revision(order.value)
    assert (revision.id, revision.hint, revision.value) == (flag.id, "too loud", None)


def test_a_retry_of_a_fork_s_item_is_one_of_the_fork() -> None:
    [order] = taken(flagged(lines, path="3", run="1-1,2-5", enforce="retry"))[1]
    envelope = parse_envelope([(name, bytes(value or b"")) for name, value in order.headers])  # type: ignore[arg-type]
    assert (order.topic, envelope.stage, envelope.path) == ("enforcing.draft", "lines", ())


def test_a_replacement_is_written_as_the_stage_writes_it() -> None:
    flag = flagged(checked, path="3", run="1-1,2-5,3-1", enforce="replace", instead={"text": "quiet"})
    written, [order] = taken(flag)
    assert written == [flag]
    assert (order.topic, decode_revision(order.value).value) == ("enforcing.lines", b'{"text":"quiet"}')


def test_what_was_not_asked_for_is_not_on_the_record_as_if_it_were() -> None:
    wrong = flagged(checked, path="3", run="1-1,2-5,3-1", enforce="replace", instead={"words": 3})
    [written], orders = taken(wrong)
    assert (written.data.decision, orders) == (None, [])
    again = flagged(draft, path="", run="1-1", enforce="retry", retries=1, revisions=1)
    assert again.data.decision is None, "it has been asked again as often as it may be"
    assert Enforcer({}).take([flagged(draft, path="", run="1-1", enforce="retry")])[0][0].data.decision is None


def test_what_stands_is_over_and_not_asked_for() -> None:
    flag = flagged(draft, path="", run="1-1", enforce="retry")
    stands = flag.model_copy(update={"data": flag.data.model_copy(update={"state": FlagState.STANDING})})
    assert taken(stands) == ([stands], [])


@pytest.mark.parametrize(
    ("on", "enforce", "plans", "says"),
    [
        ("enforcing.draft", "retry", {}, "is not known here"),
        ("enforcing.nothing", "retry", PLANS, "no stage"),
        ("enforcing.accepted", "retry", PLANS, "no stage"),
        ("enforcing.draft", "replace", PLANS, "a text"),
        ("enforcing.lines", "replace", PLANS, "stream of items"),
    ],
)
def test_what_could_never_be_carried_out_is_refused_at_the_start(on: str, enforce: Any, plans: Any, says: str) -> None:
    registry = Registry()
    assertion(on=on, name="says", enforce=enforce, registry=registry)(lambda v: 0)
    with pytest.raises(AssertionSetupError, match=says):
        check_enforceable(registry, plans)


def test_a_replacement_that_names_none_is_a_fault() -> None:
    registry = Registry()
    assertion(on=checked, name="says", enforce="replace", registry=registry)(lambda v: 1)
    result = evaluate(registry, [Observation("enforcing", ("checked",), ("x",), "1:7", "3", 5.0)])
    assert not result.flags
    assert result.health["says"].last_error.startswith("refused: enforces a replacement")
