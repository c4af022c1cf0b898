"""Flows that cannot work are refused where they are defined, with the stage, the parameter and a hint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from streams.errors import FlowError
from streams.flow import Chunk, Drop, Failed, Pipeline, Prompt, Stream
from streams.flow.errors import RefusedFlowError


class Ask(BaseModel):
    text: str


class Part(BaseModel):
    text: str


class Kit:
    """A pipeline with one stage of each kind, to build flows from."""

    def __init__(self) -> None:
        p = self.pipeline = Pipeline("kit")

        @p.stage
        def split(ask: Ask) -> Iterator[Part]:
            yield Part(text=ask.text)

        @p.model("writer")
        def write(ask: Ask) -> Prompt:
            return Prompt(text=ask.text)

        @p.model("writer")
        def detail(part: Part) -> Prompt:
            return Prompt(text=part.text)

        self.split, self.write, self.detail = split, write, detail


def refused(build: Callable[[], object]) -> RefusedFlowError:
    with pytest.raises(RefusedFlowError) as caught:
        build()
    assert isinstance(caught.value, FlowError)
    assert caught.value.hint in str(caught.value)
    return caught.value


def test_two_forks_do_not_join() -> None:
    kit = Kit()
    p = kit.pipeline

    @p.stage
    def other(ask: Ask) -> Iterator[str]:
        yield ask.text

    @p.stage
    def pair(part: Part, name: str) -> str:
        return part.text + name

    def flow(ask: Ask) -> str:
        return pair(kit.split(ask), other(ask))

    error = refused(lambda: p.flow(flow))
    assert (error.code, error.stage) == ("flow.unjoinable", "pair")
    assert "one per request > split" in str(error)
    assert "one per request > other" in str(error)


def test_a_stream_of_another_fork_does_not_join_a_plain_item() -> None:
    kit = Kit()
    p = kit.pipeline

    @p.stage
    def other(ask: Ask) -> Iterator[str]:
        yield ask.text

    @p.stage
    async def pair(part: Part, names: Stream[str]) -> str:
        return part.text

    error = refused(lambda: p.flow(_flow(lambda ask: pair(kit.split(ask), other(ask)))))
    assert (error.code, error.stage, error.parameter) == ("flow.unjoinable", "pair", "names")


def test_streams_of_different_levels_need_a_plain_input() -> None:
    kit = Kit()
    p = kit.pipeline

    @p.stage
    def deeper(part: Part) -> Iterator[str]:
        yield part.text

    @p.stage
    async def both(parts: Stream[Part], names: Stream[str]) -> str:
        return ""

    def flow(ask: Ask) -> str:
        parts = kit.split(ask)
        return both(parts, deeper(parts))

    error = refused(lambda: p.flow(flow))
    assert (error.code, error.parameter) == ("flow.unjoinable", "names")


@pytest.mark.parametrize("level", ["same", "shallower"])
def test_a_stream_must_be_below_the_node(level: str) -> None:
    kit = Kit()
    p = kit.pipeline

    @p.stage
    def note(ask: Ask) -> str:
        return ask.text

    @p.stage
    def label(part: Part) -> str:
        return part.text

    @p.stage
    async def join(part: Part, notes: Stream[str]) -> str:
        return part.text

    def flow(ask: Ask) -> str:
        parts = kit.split(ask)
        return join(parts, label(parts) if level == "same" else note(ask))

    error = refused(lambda: p.flow(flow))
    assert (error.code, error.stage, error.parameter) == ("flow.not-a-stream", "join", "notes")


def test_a_stream_of_the_request_is_refused() -> None:
    p = Pipeline("p")

    @p.stage
    async def join(asks: Stream[Ask]) -> str:
        return ""

    error = refused(lambda: p.flow(_flow(join)))
    assert (error.code, error.parameter) == ("flow.not-a-stream", "asks")


def test_texts_are_not_collapsed_with_other_levels() -> None:
    kit = Kit()
    p = kit.pipeline

    @p.stage
    async def join(ask: Ask, texts: Stream[str]) -> str:
        return ""

    error = refused(lambda: p.flow(_flow(lambda ask: join(ask, kit.detail(kit.split(ask))))))
    assert (error.code, error.stage, error.parameter) == ("flow.text-level", "join", "texts")
    assert "stage of its own" in error.hint


def test_a_text_is_not_broadcast() -> None:
    kit = Kit()
    p = kit.pipeline

    @p.stage
    async def join(part: Part, text: Stream[str]) -> str:
        return ""

    def flow(ask: Ask) -> str:
        return join(kit.split(ask), kit.write(ask))

    assert refused(lambda: p.flow(flow)).code == "flow.text-level"


def test_a_text_is_no_plain_str() -> None:
    kit = Kit()

    @kit.pipeline.stage
    def shout(text: str) -> str:
        return text.upper()

    error = refused(lambda: kit.pipeline.flow(_flow(lambda ask: shout(kit.write(ask)))))
    assert (error.code, error.stage, error.parameter) == ("flow.text", "shout", "text")
    assert "Stream[str]" in error.hint


def test_a_text_is_str_or_chunks() -> None:
    kit = Kit()

    @kit.pipeline.stage
    async def read(text: Stream[Part]) -> str:
        return ""

    assert refused(lambda: kit.pipeline.flow(_flow(lambda ask: read(kit.write(ask))))).code == "flow.type"


def test_types_must_fit() -> None:
    kit = Kit()

    @kit.pipeline.stage
    async def count(parts: Stream[int]) -> int:
        return 0

    def flow(ask: Ask) -> int:
        return count(kit.split(ask))

    error = refused(lambda: kit.pipeline.flow(flow))
    assert (error.code, error.stage, error.parameter) == ("flow.type", "count", "parts")
    assert "takes int" in str(error)
    assert "gives Part" in str(error)


def _flow(body: Callable[[Any], Any]) -> Callable[[Ask], str]:
    def flow(ask: Ask) -> str:
        return body(ask)  # type: ignore[no-any-return]

    return flow


def _one_stage() -> tuple[Pipeline, Any]:
    p = Pipeline("p")

    @p.stage
    def only(ask: Ask) -> str:
        return ask.text

    return p, only


def test_a_loop() -> None:
    p = Pipeline("p")

    @p.stage
    def polish(text: str) -> str:
        return text

    @p.stage
    def first(ask: Ask) -> str:
        return ask.text

    error = refused(lambda: p.flow(_flow(lambda ask: polish(polish(first(ask))))))
    assert (error.code, error.stage, error.parameter) == ("flow.loop", "polish", "text")


def test_a_stage_is_used_once() -> None:
    p, only = _one_stage()

    @p.stage
    def both(a: str, b: str) -> str:
        return a + b

    assert refused(lambda: p.flow(_flow(lambda ask: both(only(ask), only(ask))))).code == "flow.reused"


@pytest.mark.parametrize("called", [True, False])
def test_every_stage_leads_to_the_answer(called: bool) -> None:
    p, only = _one_stage()

    @p.stage
    def log(ask: Ask) -> str:
        return ask.text

    def flow(ask: Ask) -> str:
        if called:
            log(ask)
        return only(ask)  # type: ignore[no-any-return]

    error = refused(lambda: p.flow(flow))
    assert (error.code, error.stage) == ("flow.unused", "log")


def test_the_answer_is_one_per_request() -> None:
    kit = Kit()

    def flow(ask: Ask) -> Part:
        return kit.split(ask)

    error = refused(lambda: kit.pipeline.flow(flow))
    assert (error.code, error.stage) == ("flow.answer-depth", "split")
    assert "Stream[Part]" in error.hint


@pytest.mark.parametrize("answer", [None, 3, "request"])
def test_the_answer_comes_from_a_stage(answer: object) -> None:
    p = Pipeline("p")
    body: Callable[[Any], Any] = (lambda ask: ask) if answer == "request" else (lambda _: answer)
    assert refused(lambda: p.flow(_flow(body))).code == "flow.answer"


def test_the_answer_fits_the_annotation() -> None:
    p, only = _one_stage()

    def flow(ask: Ask) -> int:
        return only(ask)  # type: ignore[no-any-return]

    assert refused(lambda: p.flow(flow)).code == "flow.type"


def test_handles_of_another_pipeline() -> None:
    kit, (_, only) = Kit(), _one_stage()
    assert refused(lambda: kit.pipeline.flow(_flow(only))).code == "flow.foreign"

    kept: list[Any] = []
    p, mine = _one_stage()
    p.flow(_flow(lambda ask: kept.append(ask) or mine(ask)))  # type: ignore[func-returns-value]
    q, other = _one_stage()
    assert refused(lambda: q.flow(_flow(lambda _: other(kept[0])))).code == "flow.foreign"
    assert refused(lambda: mine(kept[0])).code == "flow.foreign"
    r, _ = _one_stage()
    assert refused(lambda: r.flow(_flow(lambda _: kept[0]))).code == "flow.foreign"


@pytest.mark.parametrize(
    "look",
    [
        lambda ask: "yes" if ask else "no",
        list,
        lambda ask: ask.text,
        lambda ask: ask["text"],
        lambda ask: ask + "!",
        lambda ask: ask == "hello",
        lambda ask: f"{ask}",
        len,
        lambda ask: ask(),
        lambda ask: ask < 3,
    ],
)
def test_a_flow_cannot_look_at_values(look: Callable[[Any], object]) -> None:
    p, only = _one_stage()
    error = refused(lambda: p.flow(_flow(lambda ask: only(look(ask)))))
    assert error.code == "flow.value"
    assert "no value while the flow is traced" in str(error)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda only, ask: only("constant"), "flow.constant"),
        (lambda only, ask: only(), "flow.parameters"),
        (lambda only, ask: only(ask, ask), "flow.parameters"),
        (lambda only, ask: only(nonsense=ask), "flow.parameters"),
    ],
)
def test_calls_that_do_not_match(call: Callable[[Any, Any], Any], code: str) -> None:
    p, only = _one_stage()
    assert refused(lambda: p.flow(_flow(lambda ask: call(only, ask)))).code == code


def test_a_stage_without_input() -> None:
    p = Pipeline("p")

    @p.stage
    def clock() -> str:
        return ""

    assert refused(lambda: p.flow(_flow(lambda _: clock()))).code == "flow.no-input"


def _declarations() -> dict[str, tuple[str, Callable[..., Any]]]:
    def no_parameter_type(part) -> str:  # type: ignore[no-untyped-def]
        return ""

    def no_return_type(part: Part):  # type: ignore[no-untyped-def]
        return ""

    def bare_stream(parts: Stream) -> str:  # type: ignore[type-arg]
        return ""

    def sync_join(parts: Stream[Part]) -> str:
        return ""

    def no_record(part: Part) -> Iterator[Callable[[], None]]:
        yield print

    def no_record_parameter(part: threading_lock) -> str:  # type: ignore[name-defined]  # noqa: F821
        return ""

    def a_class_of_its_own(part: Kit) -> str:
        return ""

    def plain_chunk(part: Chunk) -> str:
        return ""

    def a_prompt(part: Part) -> Prompt:
        return Prompt(text="")

    def an_iterable(part: Part) -> Iterable[str]:
        return []

    async def not_a_generator(part: Part) -> AsyncIterator[str]:
        raise NotImplementedError

    def yields_a_list(part: Part) -> list[str]:  # type: ignore[misc]
        yield ""

    def only_drops(part: Part) -> Drop:
        return Drop()

    def variadic(*parts: Part) -> str:
        return ""

    def takes_failed(part: Part | Failed) -> str:
        return ""

    def in_another_alphabet(part: Part) -> str:
        return ""

    in_another_alphabet.__name__ = "été"

    def closer(part: Part) -> str:
        return ""

    return {
        "no_parameter_type": ("flow.annotation", no_parameter_type),
        "no_return_type": ("flow.annotation", no_return_type),
        "bare_stream": ("flow.annotation", bare_stream),
        "sync_join": ("flow.sync-join", sync_join),
        "no_record": ("flow.record", no_record),
        "unknown name": ("flow.annotation", no_record_parameter),
        "a class": ("flow.record", a_class_of_its_own),
        "a chunk": ("flow.record", plain_chunk),
        "a prompt": ("flow.prompt", a_prompt),
        "an iterable": ("flow.fork", an_iterable),
        "not_a_generator": ("flow.fork", not_a_generator),
        "yields_a_list": ("flow.fork", yields_a_list),
        "only_drops": ("flow.record", only_drops),
        "variadic": ("flow.parameters", variadic),
        "takes_failed": ("flow.failed", takes_failed),
        "name": ("flow.name", in_another_alphabet),
        "reserved": ("flow.name", closer),
    }


@pytest.mark.parametrize("case", sorted(_declarations()))
def test_declarations(case: str) -> None:
    code, function = _declarations()[case]
    assert refused(lambda: Pipeline("p").stage(function)).code == code


def test_a_model_returns_a_prompt() -> None:
    def write(ask: Ask) -> str:
        return ask.text

    error = refused(lambda: Pipeline("p").model("writer")(write))
    assert (error.code, error.stage) == ("flow.prompt", "write")


@pytest.mark.parametrize(
    "options",
    [{"retries": -1}, {"retries": True}, {"on_error": "ignore"}, {"on_error": "pass"}, {"timeout": 0}],
)
def test_stage_options(options: dict[str, Any]) -> None:
    def only(ask: Ask) -> str:
        return ask.text

    assert refused(lambda: Pipeline("p").stage(**options)(only)).code in ("flow.option", "flow.failed")


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("with/slash", {}),
        ("", {}),
        ("writer", {"max_tokens": 0}),
        ("writer", {"max_tokens": "8"}),
        ("writer", {"temperature": -1}),
        ("writer", {"stop": [""]}),
        ("writer", {"logprobs": True}),
    ],
)
def test_model_options(model: str, options: dict[str, Any]) -> None:
    def write(ask: Ask) -> Prompt:
        return Prompt(text=ask.text)

    assert refused(lambda: Pipeline("p").model(model, **options)(write)).code == "flow.option"


@pytest.mark.parametrize("name", ["", "a.b", "models", "with space", "x" * 200])
def test_pipeline_names(name: str) -> None:
    assert refused(lambda: Pipeline(name)).code == "flow.name"


def test_one_flow_and_no_stage_after_it() -> None:
    p, only = _one_stage()
    p.flow(_flow(only))
    assert refused(lambda: p.flow(_flow(only))).code == "flow.duplicate"

    def late(ask: Ask) -> str:
        return ask.text

    assert refused(lambda: p.stage(late)).code == "flow.late"


def test_stage_names_are_unique() -> None:
    p, only = _one_stage()
    assert refused(lambda: p.stage(only.function)).code == "flow.duplicate"


def _flows() -> dict[str, tuple[str, Callable[..., Any]]]:
    def two(ask: Ask, more: Ask) -> str:
        return ""

    def untyped(ask) -> str:  # type: ignore[no-untyped-def]
        return ""

    def no_answer_type(ask: Ask):  # type: ignore[no-untyped-def]
        return ""

    async def waits(ask: Ask) -> str:
        return ""

    def of_a_class(ask: Kit) -> str:
        return ""

    return {
        "two": ("flow.parameters", two),
        "untyped": ("flow.annotation", untyped),
        "no_answer_type": ("flow.annotation", no_answer_type),
        "waits": ("flow.async", waits),
        "of_a_class": ("flow.record", of_a_class),
    }


@pytest.mark.parametrize("case", sorted(_flows()))
def test_flow_signatures(case: str) -> None:
    code, function = _flows()[case]
    assert refused(lambda: Pipeline("p").flow(function)).code == code


def test_a_refused_flow_leaves_the_pipeline_as_it_was() -> None:
    p, only = _one_stage()
    refused(lambda: p.flow(_flow(lambda _: None)))
    assert only(Ask(text="hello")) == "hello"
    p.flow(_flow(only))
    assert p.plan.answer == "only"
