"""`/v1/completions` as OpenAI, vLLM and llama.cpp speak it: the request, and the events of its stream, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.engines.protocol import Generation, TokenChunk
from workers.errors import PromptError

_TOO_LONG = ("context_length", "context length", "exceed_context_size", "maximum context", "max_model_len")


def completion_body(
    model: str, generation: Generation, prompt: str | tuple[int, ...], max_tokens: int
) -> dict[str, Any]:
    """The request; `prompt` is a text, or ids with what was generated already at their end."""
    sampling = generation.sampling
    body: dict[str, Any] = {
        "model": model,
        "prompt": prompt if isinstance(prompt, str) else list(prompt),
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
        # vLLM: ids in every event. llama.cpp knows neither this nor `priority`, and ignores both.
        "return_token_ids": True,
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.logprobs:
        body["logprobs"] = sampling.logprobs
    return body


def raise_refusal(status: int, body: str) -> None:
    """Raise what a 4xx answer means. Nothing of the body is repeated: it may quote the prompt."""
    lowered = body.lower()
    if any(sign in lowered for sign in _TOO_LONG):
        raise PromptError(
            "the prompt is longer than the context of the server's model; shorten it, or serve with a longer context.",
            code="model.prompt_too_long",
        )
    raise PromptError(f"the server refuses the request with status {status}; check model name and sampling parameters.")


class Reader:
    """Turns the events of one stream into chunks, whose positions go on from `position`.

    An event says its ids (vLLM), or its tokens by their log-probabilities (when asked), or else counts as one token.
    """

    def __init__(self, position: int) -> None:
        self._position = position
        self._first = True

    def on(self, event: Mapping[str, Any]) -> TokenChunk | None:
        """The chunk of an event; None for one that only counts usage."""
        if not event.get("choices"):
            return None
        choice = event["choices"][0]
        logprobs, ids = _logprobs(choice.get("logprobs") or {})
        ids = tuple(choice.get("token_ids") or ()) or ids
        text, finish = choice.get("text") or "", choice.get("finish_reason")
        count = len(ids) or len(logprobs) or (1 if text else 0)
        if not (count or finish):
            return None
        usage = event.get("usage") or {}
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        chunk = TokenChunk(
            position=self._position,
            text=text,
            token_ids=ids,
            tokens=count,
            logprobs=logprobs,
            finish=None if finish is None else "length" if finish == "length" else "stop",
            cached_tokens=cached if self._first else None,
        )
        self._first = False
        self._position += count
        return chunk


def _logprobs(found: Mapping[str, Any]) -> tuple[tuple[Mapping[str, float], ...], tuple[int, ...]]:
    """Alternatives of each token, and ids where the server gives them; in OpenAI's older form or llama.cpp's."""
    if "content" in found:  # llama.cpp: one object a token, with its id
        tokens = found["content"] or ()
        listed = tuple(_ranked({**_named(t["top_logprobs"]), t["token"]: t["logprob"]}) for t in tokens)
        return listed, tuple(int(t["id"]) for t in tokens if "id" in t)
    top = found.get("top_logprobs") or ()
    sampled = zip(found.get("tokens") or (), found.get("token_logprobs") or (), strict=False)
    return tuple(
        _ranked({**alternatives, token: value}) for alternatives, (token, value) in zip(top, sampled, strict=False)
    ), ()


def _named(entries: list[Mapping[str, Any]]) -> dict[str, float]:
    return {entry["token"]: entry["logprob"] for entry in entries}


def _ranked(alternatives: Mapping[str, float]) -> Mapping[str, float]:
    return dict(sorted(alternatives.items(), key=lambda pair: -pair[1]))
