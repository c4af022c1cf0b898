"""Streams in tests, prompts, and stages called outside of a flow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import FrozenInstanceError

import pytest
from pydantic import ValidationError

import streams.flow
from streams.errors import StageError
from streams.flow import Chunk, Failed, Prompt, Stream
from tests.unit.flow import flows
from tests.unit.flow.flows import Claim, Evidence, Question, Verdict


async def test_a_stream_of_items_can_be_read_again_and_again() -> None:
    stream = Stream.of([1, 2, 3])
    assert [item async for item in stream] == [1, 2, 3]
    assert [item async for item in stream.unordered()] == [1, 2, 3]
    assert await stream.collect() == [1, 2, 3]


async def test_two_readers_of_a_stream_do_not_disturb_each_other() -> None:
    stream = Stream.of("ab")
    first, second = aiter(stream), aiter(stream)
    assert [await anext(first), await anext(second), await anext(first)] == ["a", "a", "b"]


async def test_the_whole_text() -> None:
    assert await Stream.of(["La ", "Paz"]).text() == "La Paz"
    assert await Stream.of([Chunk(0, "La ", (1,)), Chunk(1, "Paz", (2,))]).text() == "La Paz"
    assert await Stream[str].of([]).text() == ""


async def test_only_texts_have_a_text() -> None:
    with pytest.raises(StageError) as refused:
        await Stream.of([1]).text()
    assert refused.value.code == "stage.not-text"


async def test_a_stream_must_say_how_it_is_read() -> None:
    with pytest.raises(TypeError):
        Stream()  # type: ignore[abstract]


async def test_stages_are_their_functions_outside_of_a_flow() -> None:
    assert flows.draft.function(Question(text="Bolivia")) == Prompt(text="Tell me about Bolivia.")
    assert await flows.evidence.function(Claim(text="x")) == Evidence(facts=["x"])
    assert list(flows.split(Question(text="a b"))) == ["a", "b"]
    found = flows.claims.function(Stream.of(["One.", "Two."]))
    assert isinstance(found, AsyncIterator)
    assert [claim.text async for claim in found] == ["One.", "Two."]
    claim = Claim(text="One.")
    assert await flows.verdict.function(claim, Stream.of(["y", "es"])) == Verdict(claim=claim, is_true=True)
    letters = flows.split.function(Question(text="a b"))
    assert isinstance(letters, Iterator)
    assert list(letters) == ["a", "b"]
    assert (flows.draft.name, flows.draft.__module__) == ("draft", flows.__name__)


@pytest.mark.parametrize(
    "fields", [{"max_tokens": 0}, {"temperature": -0.1}, {"top_p": 0}, {"stop": [""]}, {"unknown": 1}]
)
def test_prompts_refuse_nonsense(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Prompt.model_validate({"text": "hello", **fields})


def test_a_prompt_says_only_what_was_set() -> None:
    prompt = Prompt(text="hello", stop=("\n",), seed=3)
    assert prompt.model_dump(exclude_none=True) == {"text": "hello", "stop": ("\n",), "seed": 3}


def test_what_stages_are_given_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Chunk(0, "a").text = "b"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Failed(code="stage", stage="verify", message="too long").code = "other"  # type: ignore[misc]


def test_public_names_are_sorted_and_there() -> None:
    assert streams.flow.__all__ == sorted(streams.flow.__all__)
    assert all(hasattr(streams.flow, name) for name in streams.flow.__all__)
