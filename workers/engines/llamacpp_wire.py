"""llama.cpp's `/completion`: what is asked of it and what it streams back, as values.

Field names: llama.cpp, tools/server/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.engines.protocol import Sampling, TokenChunk
from workers.errors import EngineDeadError, PromptError

_USERS_FAULT = frozenset({"invalid_request_error", "exceed_context_size_error", "not_supported_error"})


def completion_body(prompt: Sequence[int], sampling: Sampling, max_tokens: int, top_k: int) -> dict[str, Any]:
    """The request for at most `max_tokens` after `prompt`; top_k as in `LlamaCppSettings`."""
    body: dict[str, Any] = {
        "prompt": list(prompt),
        "n_predict": max_tokens,
        "stream": True,
        "cache_prompt": True,
        "return_tokens": True,
        "return_progress": True,
        "stop": list(sampling.stop),
        "temperature": sampling.temperature,
        # llama.cpp's own chain has ten samplers with defaults of its own (min_p, ...) that no caller asked for.
        "samplers": ["top_k", "top_p", "temperature"] if sampling.temperature > 0 else ["top_k"],
        "top_k": top_k if sampling.temperature > 0 else 1,
        "top_p": sampling.top_p,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.logprobs:
        body["n_probs"] = sampling.logprobs
    return body


def raise_error(error: Mapping[str, Any]) -> None:
    """Raise what an error object of the server means here. Its message is not repeated: it may quote the prompt."""
    kind = str(error.get("type", "unknown"))
    if kind in _USERS_FAULT:
        raise PromptError(f"llama.cpp refuses the request ({kind}); check the sampling parameters.")
    raise EngineDeadError(f"llama.cpp failed in the middle of a generation ({kind}).")


@dataclass(slots=True)
class Piece:
    """One streamed event: a chunk, and whether llama.cpp left out the ids of all its tokens but the last."""

    chunk: TokenChunk
    lacks_ids: bool


class Reader:
    """Turns the events of one generation into chunks, whose positions go on from `position`."""

    def __init__(self, position: int) -> None:
        self._start = position
        self._position = position
        self._cached: int | None = None
        self._first = True

    def on(self, event: Mapping[str, Any]) -> Piece | None:
        """The chunk of an event; None for one that only says how far the prompt is."""
        if "error" in event:
            raise_error(event["error"])
        if "prompt_progress" in event:
            self._cached = int(event["prompt_progress"]["cache"])
            return None
        finish: str | None = None
        ids: tuple[int, ...] = tuple(event["tokens"])
        # A character of several tokens is streamed when it is complete, with the id of its last token only.
        count = self._start + int(event["tokens_predicted"]) - self._position
        if event["stop"]:
            finish = "length" if event["stop_type"] == "limit" else "stop"
            count = len(ids)  # beyond the streamed ones there is only a character cut in two, of which nothing shows
        chunk = TokenChunk(
            position=self._position,
            text=event["content"],
            token_ids=ids,
            tokens=count,
            logprobs=_logprobs(event.get("completion_probabilities", ())) if ids else (),
            finish=finish,
            cached_tokens=self._cached if self._first else None,
        )
        self._first = False
        self._position += count
        return Piece(chunk, lacks_ids=count != len(ids))


def _logprobs(tokens: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, float], ...]:
    return tuple(_alternatives(token) for token in tokens)


def _alternatives(token: Mapping[str, Any]) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for entry in (*token["top_logprobs"], token):  # the sampled one too, where it is not among the likeliest
        found.setdefault(entry["token"], float(entry["logprob"]))
    return found
