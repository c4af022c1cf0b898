"""Events of llama.cpp and of OpenAI-compatible servers, as recorded from llama.cpp b11549 and vLLM 0.32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from workers.engines import llamacpp_wire, openai_wire
from workers.engines.llamacpp_wire import raise_error
from workers.engines.openai_wire import raise_refusal
from workers.engines.protocol import Generation, Sampling
from workers.errors import EngineDeadError, PromptError


def event(text: str, ids: list[int], predicted: int, **more: Any) -> Mapping[str, Any]:
    return {"content": text, "tokens": ids, "tokens_predicted": predicted, "stop": False, **more}


class TestLlamaCpp:
    def test_progress_is_no_chunk_but_says_what_was_cached(self) -> None:
        reader = llamacpp_wire.Reader(0)
        assert reader.on(event("", [0], 0, prompt_progress={"total": 24, "cache": 20, "processed": 20})) is None
        first, second = reader.on(event(" a", [496], 1)), reader.on(event(" b", [518], 2))
        assert first is not None
        assert second is not None
        assert (first.chunk.cached_tokens, second.chunk.cached_tokens) == (20, None)

    def test_a_character_of_four_tokens_counts_four_and_lacks_ids(self) -> None:
        reader = llamacpp_wire.Reader(0)
        reader.on(event(" ", [236743], 1))
        emoji, after = reader.on(event("\U00013003", [369], 5)), reader.on(event(" ", [236743], 6))
        assert emoji is not None
        assert after is not None
        assert (emoji.chunk.position, emoji.chunk.tokens, emoji.lacks_ids) == (1, 4, True)
        assert (after.chunk.position, after.lacks_ids) == (5, False)

    def test_half_a_character_at_the_end_is_not_counted(self) -> None:
        reader = llamacpp_wire.Reader(3)
        reader.on(event(" a", [496], 1))
        end = reader.on(event("", [], 2, stop=True, stop_type="limit"))
        assert end is not None
        assert (end.chunk.position, end.chunk.tokens, end.chunk.finish) == (4, 0, "length")

    @pytest.mark.parametrize(("kind", "finish"), [("limit", "length"), ("eos", "stop"), ("word", "stop")])
    def test_why_it_ended(self, kind: str, finish: str) -> None:
        end = llamacpp_wire.Reader(0).on(event("", [], 0, stop=True, stop_type=kind))
        assert end is not None
        assert end.chunk.finish == finish

    def test_the_sampled_token_is_among_its_alternatives(self) -> None:
        top = [{"token": " the", "logprob": -0.1}, {"token": " a", "logprob": -2.5}]
        probabilities = [{"token": " an", "logprob": -4.0, "top_logprobs": top}]
        piece = llamacpp_wire.Reader(0).on(event(" an", [614], 1, completion_probabilities=probabilities))
        assert piece is not None
        assert piece.chunk.logprobs == ({" the": -0.1, " a": -2.5, " an": -4.0},)

    def test_an_error_says_whose_fault_it_is_without_its_text(self) -> None:
        with pytest.raises(PromptError) as users:
            raise_error({"type": "invalid_request_error", "message": "a private prompt"})
        with pytest.raises(EngineDeadError) as ours:
            raise_error({"type": "server_error", "message": "a private prompt"})
        assert "private" not in f"{users.value}{ours.value}"


class TestOpenAI:
    def test_vllm_says_its_ids(self) -> None:
        reader = openai_wire.Reader(2)
        chunk = reader.on({"choices": [{"text": "ab", "token_ids": [5, 6], "finish_reason": None}]})
        assert chunk is not None
        assert (chunk.position, chunk.token_ids, chunk.tokens) == (2, (5, 6), 2)
        end = reader.on({"choices": [{"text": "", "finish_reason": "stop"}]})
        assert end is not None
        assert (end.position, end.tokens, end.finish) == (4, 0, "stop")

    def test_without_ids_an_event_is_a_token(self) -> None:
        chunk = openai_wire.Reader(0).on({"choices": [{"text": "ab", "finish_reason": None}]})
        assert chunk is not None
        assert (chunk.token_ids, chunk.tokens) == ((), 1)

    def test_usage_alone_is_no_chunk(self) -> None:
        assert openai_wire.Reader(0).on({"choices": [], "usage": {"prompt_tokens": 3}}) is None

    def test_log_probabilities_in_openais_older_form(self) -> None:
        logprobs = {"tokens": [" x"], "token_logprobs": [-3.0], "top_logprobs": [{" y": -0.2, " z": -1.0}]}
        chunk = openai_wire.Reader(0).on({"choices": [{"text": " x", "logprobs": logprobs, "finish_reason": None}]})
        assert chunk is not None
        assert [list(one.items()) for one in chunk.logprobs] == [[(" y", -0.2), (" z", -1.0), (" x", -3.0)]]

    def test_a_resumed_prompt_goes_as_ids(self) -> None:
        body = openai_wire.completion_body("m", Generation("g", "text", Sampling()), (1, 2, 3), 7)
        assert (body["prompt"], body["max_tokens"]) == ([1, 2, 3], 7)

    @pytest.mark.parametrize(
        ("body", "code"),
        [("This model's maximum context length is 512", "model.prompt_too_long"), ("no such model", "model.prompt")],
    )
    def test_a_refusal_is_the_prompts(self, body: str, code: str) -> None:
        with pytest.raises(PromptError) as refused:
            raise_refusal(400, body)
        assert refused.value.code == code
