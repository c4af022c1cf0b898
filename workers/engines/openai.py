"""Any server with OpenAI's `/v1/completions`: vLLM's, llama.cpp's, and others.

Token ids come from servers that give them (vLLM: `return_token_ids`; llama.cpp: with the log-probabilities); for others
a chunk counts as one token, and a text cannot be resumed.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

import httpx

from streams.errors import ConfigError
from workers.engines.openai_wire import Reader, completion_body, raise_refusal
from workers.engines.protocol import EngineLoad, Generation, Sampling, TokenChunk
from workers.errors import EngineDeadError, PromptError
from workers.settings import OpenAISettings

# Between attempts, before the first token; with the default of 3 tries at most 0.75 s are waited in all.
_RETRY_SECONDS: Final = 0.25

# `load` is called many times a second and asks the server itself only so often: an idle worker learns within this time
# that its server is gone, instead of by the next prompt.
_ASK_SECONDS: Final = 1.0

_CONTEXT_UNKNOWN: Final = 4096

# Overloaded, restarting, or a proxy before it: the same request may be served a moment later.
_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class OpenAIEngine:
    """A model behind HTTP. The server batches; its death ends every generation with `EngineDeadError`."""

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._name = settings.model or ""
        self.model = settings.served_name or self._name
        self.max_context = settings.context or _CONTEXT_UNKNOWN
        self.max_parallel = settings.parallel
        self.can_resume = False
        self._running = 0
        self._has_tokenizer = False
        self._heard = float("-inf")
        self._http: httpx.AsyncClient | None = None

    async def start(self) -> None:
        """Wait until the server lists its models. Raises `ConfigError`: key refused, model not there, no server."""
        if self._http is not None:
            return
        key = self._settings.api_key
        self._http = httpx.AsyncClient(
            base_url=self._settings.base_url.rstrip("/") + "/",
            headers={} if key is None else {"authorization": f"Bearer {key.get_secret_value()}"},
            timeout=httpx.Timeout(self._settings.silence_seconds, connect=self._settings.connect_seconds),
            # A connection that a server closes while it is idle would fail a request: a new one costs 0.3 ms.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )
        try:
            listed = await self._until_listed()
            self._choose(listed)
            await self._learn_tokens()
        except BaseException:
            await self.close()
            raise

    async def _until_listed(self) -> list[Mapping[str, Any]]:
        """The models of the server, once it answers."""
        last = "it does not answer"
        try:
            async with asyncio.timeout(self._settings.start_seconds):
                while True:
                    try:
                        response = await self._client().get("models")
                    except httpx.TransportError:
                        await asyncio.sleep(_RETRY_SECONDS)
                        continue
                    if response.status_code in {401, 403}:
                        raise ConfigError(
                            f"the server at {self._settings.base_url} refuses the key; "
                            "set `api_key` (DESCANT_OPENAI_API_KEY).",
                            code="config.engine_key",
                        )
                    if response.is_success:
                        with suppress(ValueError, LookupError, TypeError):  # a server of something else
                            return list(response.json()["data"])
                    # 503: it loads its model; 404: the path is not the API's.
                    last = f"it answers with status {response.status_code}"
                    await asyncio.sleep(_RETRY_SECONDS)
        except TimeoutError:
            raise ConfigError(
                f"no OpenAI-compatible server at {self._settings.base_url} within {self._settings.start_seconds:g} s "
                f"({last}); start it, or set `base_url` (DESCANT_OPENAI_BASE_URL).",
                code="config.engine_unreachable",
            ) from None

    def _choose(self, listed: list[Mapping[str, Any]]) -> None:
        by_name = {str(model["id"]): model for model in listed}
        if not self._name:
            self._name = next(iter(by_name)) if len(by_name) == 1 else self._settings.served_name or ""
        if self._name not in by_name:
            raise ConfigError(
                f"the server serves {', '.join(sorted(by_name))}; set `model` (DESCANT_OPENAI_MODEL) to one of them.",
                code="config.model_missing",
            )
        self.model = self._settings.served_name or self._name
        model = by_name[self._name]
        known = model.get("max_model_len") or (model.get("meta") or {}).get("n_ctx")
        self.max_context = self._settings.context or int(known or _CONTEXT_UNKNOWN)

    async def _learn_tokens(self) -> None:
        """Resuming needs a tokenizer on the server, ids in its stream, and ids as a prompt: vLLM has all three."""
        self._has_tokenizer = await self._server_tokens("a") is not None
        if not self._has_tokenizer:
            return
        async with aclosing(self.generate(Generation("probe", "a", Sampling(max_tokens=1)))) as chunks:
            self.can_resume = any([bool(chunk.token_ids) async for chunk in chunks])

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        """The server's ids where it has `/tokenize`; else zeros, one for four characters: good for a length only."""
        ids = await self._server_tokens(prompt) if self._has_tokenizer else None
        return (0,) * -(-len(prompt) // 4) if ids is None else ids

    async def _server_tokens(self, prompt: str) -> tuple[int, ...] | None:
        # vLLM reads `prompt`, llama.cpp `content`; both have the path beside /v1 and ignore what they do not know.
        body = {
            "model": self._name,
            "prompt": prompt,
            "content": prompt,
            "add_special_tokens": True,
            "add_special": True,
        }
        try:
            response = await self._client().post(str(self._client().base_url.join("../tokenize")), json=body)
        except httpx.TransportError as gone:
            raise self._dead() from gone
        if not response.is_success:
            return None
        ids = response.json().get("tokens")
        return tuple(ids) if isinstance(ids, list) and all(isinstance(token, int) for token in ids) else None

    async def generate(self, generation: Generation) -> AsyncGenerator[TokenChunk, None]:
        """As the protocol has it. Tried again only while no token has come; closing it closes the connection."""
        sampling, done = generation.sampling, len(generation.resume)
        if sampling.max_tokens < 1:
            raise PromptError(f"max_tokens is {sampling.max_tokens}; at least 1 is needed.")
        if done >= sampling.max_tokens:
            yield TokenChunk(position=done, text="", token_ids=(), tokens=0, finish="length")
            return
        prompt: str | tuple[int, ...] = generation.prompt
        if done:
            prompt = (*await self.tokenize(generation.prompt), *generation.resume)
        body = completion_body(self._name, generation, prompt, sampling.max_tokens - done)
        self._running += 1
        try:
            async with aclosing(self._tried(body, done)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._running -= 1

    async def _tried(self, body: Mapping[str, Any], position: int) -> AsyncGenerator[TokenChunk, None]:
        for attempt in range(1, self._settings.tries + 1):
            begun = False
            try:
                async with aclosing(self._once(body, position)) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
                return
            except (EngineDeadError, _BusyError) as failed:
                if begun or attempt == self._settings.tries:
                    raise self._dead() from failed
            # Drawn, so that the streams which one restart cut do not all come back at one moment.
            await asyncio.sleep(_RETRY_SECONDS * attempt * random.uniform(0.5, 1.0))  # noqa: S311

    async def _once(self, body: Mapping[str, Any], position: int) -> AsyncGenerator[TokenChunk, None]:
        reader, finished = Reader(position), False
        try:
            async with self._client().stream("POST", "completions", json=body) as response:
                if response.status_code in _TRY_AGAIN:
                    raise _BusyError(response.status_code)
                if not response.is_success:
                    raise_refusal(response.status_code, (await response.aread()).decode(errors="replace"))
                async for line in response.aiter_lines():
                    if not line.startswith("data:") or (payload := line[5:].strip()) == "[DONE]":
                        continue
                    event = json.loads(payload)
                    if "error" in event:
                        raise self._dead()
                    chunk = reader.on(event)
                    if chunk is not None and not finished:
                        finished = chunk.finish is not None
                        yield chunk
        except (httpx.TransportError, ValueError) as gone:  # ValueError: a line cut in two
            raise self._dead() from gone
        if not finished:
            raise self._dead()

    async def load(self) -> EngineLoad:
        """What this process gave to the server: others may use it too. Raises `EngineDeadError` when it is gone."""
        now = asyncio.get_running_loop().time()
        if now - self._heard >= _ASK_SECONDS:
            try:
                await self._client().get("models")
            except httpx.TransportError as gone:
                raise self._dead() from gone
            self._heard = now
        return EngineLoad(running=self._running, waiting=0)

    async def close(self) -> None:
        """Close every connection; what still generates ends with `EngineDeadError`."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            raise EngineDeadError("the engine is not started, or closed already.")
        return self._http

    def _dead(self) -> EngineDeadError:
        return EngineDeadError(f"the server at {self._settings.base_url} does not answer, or broke off an answer.")


class _BusyError(Exception):
    """A status that another attempt may not meet."""


def create(settings: Mapping[str, object]) -> OpenAIEngine:
    """The entry point: an engine that is not started yet."""
    return OpenAIEngine(OpenAISettings(**settings))  # type: ignore[arg-type]
