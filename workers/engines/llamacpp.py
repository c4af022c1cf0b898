"""llama.cpp in this process: continuous batching over slots, for a machine without a GPU.

xllamacpp runs llama.cpp's server on threads of its own. It is spoken to over loopback HTTP with a key that only this
process knows, because that is the one interface of it that streams token ids, takes token ids as a prompt, and stops at
once when the reader goes. Nothing blocks the event loop except the load itself (1–2 s, in `start`: xllamacpp holds the
interpreter lock there).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import httpx
import xllamacpp

from streams.errors import ConfigError
from workers.engines.admission import Admission
from workers.engines.default_model import MODEL_NOTICE, default_gguf
from workers.engines.llamacpp_wire import Reader, completion_body, raise_error
from workers.engines.protocol import EngineLoad, Generation, TokenChunk
from workers.errors import EngineDeadError, PromptError
from workers.settings import LlamaCppSettings

# The server looks whether its reader has gone once a second while it computes a prompt, and at every token afterwards.
# Past this a slot that is still busy is stuck, and waiting longer would only hold up a shutdown.
_FREED_SECONDS_MAX: Final = 5.0


class LlamaCppEngine:
    """A GGUF model on llama.cpp; prompts that begin alike share what a slot has computed of them."""

    can_resume = True

    def __init__(self, settings: LlamaCppSettings) -> None:
        self._settings = settings
        self.model = settings.model
        self.notice = MODEL_NOTICE if settings.path is None else ""
        self.max_context = settings.context
        self.max_parallel = settings.parallel
        self._admission = Admission(settings.parallel)
        self._server: Any = None
        self._http: httpx.AsyncClient | None = None
        self._prompt_tokens = 0
        self._cached_tokens = 0

    async def start(self) -> None:
        """Load the model. Raises `ConfigError` when the file is missing or is no model."""
        if self._server is not None:
            return
        key = secrets.token_urlsafe(32)
        self._server = await asyncio.to_thread(self._load, key)
        # The server closes a kept connection after 100 requests without saying so first: a new one each time costs
        # 0.3 ms and cannot be closed under a request.
        self._http = httpx.AsyncClient(
            base_url=self._server.listening_address,
            headers={"authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(None, connect=5.0),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=False,
        )

    def _load(self, key: str) -> Any:
        settings = self._settings
        path = default_gguf() if settings.path is None else settings.path
        if not path.is_file():
            raise ConfigError(f"there is no GGUF file at {path}.", code="config.model_missing")
        try:
            return xllamacpp.Server(self._params(path, key))
        except RuntimeError as refused:
            raise ConfigError(
                f"llama.cpp cannot load {path}: it is no GGUF model, or memory is short for {settings.slots} slots "
                f"of {settings.context} tokens.",
                code="config.model_unloadable",
            ) from refused

    def _params(self, path: Path, key: str) -> Any:
        wanted, slots = xllamacpp.CommonParams(), max(self._settings.slots, self._settings.parallel)
        wanted.model.path = str(path)
        wanted.n_parallel = slots
        wanted.n_ctx = slots * self._settings.context
        # One KV buffer for all slots: with one each, llama.cpp computes slots that are not neighbours in separate
        # batches (4 of 16 slots: 24 ms of CPU a token instead of 18; 6 of 16: 29 instead of 16).
        wanted.kv_unified = True
        wanted.n_batch = wanted.n_ubatch = self._settings.batch
        wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = self._settings.threads
        # Without the whole window a slot could go back only as far as its last few hundred tokens.
        wanted.swa_full = True
        wanted.n_ctx_checkpoints = 0
        wanted.cache_ram_mib = 0
        wanted.cache_idle_slots = False
        wanted.fit_params = False
        wanted.n_threads_http = slots + 4
        wanted.api_keys = [key]
        wanted.hostnames = ["127.0.0.1"]
        wanted.port = 0
        wanted.ui = False
        wanted.verbosity = 0
        return wanted

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        """The prompt's token ids, with those that the model wants before every text."""
        return await self._ids(prompt, add_special=True)

    async def _ids(self, text: str, *, add_special: bool) -> tuple[int, ...]:
        answer = await self._json(
            "POST", "/tokenize", {"content": text, "add_special": add_special, "parse_special": add_special}
        )
        return tuple(answer["tokens"])

    async def generate(self, generation: Generation) -> AsyncGenerator[TokenChunk, None]:
        """As the protocol has it; waits for a place first, earliest request first."""
        sampling, done = generation.sampling, len(generation.resume)
        if sampling.max_tokens < 1:
            raise PromptError(f"max_tokens is {sampling.max_tokens}; at least 1 is needed.")
        if done >= sampling.max_tokens:
            yield TokenChunk(position=done, text="", token_ids=(), tokens=0, finish="length")
            return
        prompt = (*await self.tokenize(generation.prompt), *generation.resume)
        room = self.max_context - len(prompt)  # checked here: to llama.cpp one KV buffer is one context for all
        if room < 1:
            raise PromptError(
                f"prompt and text so far have {len(prompt)} tokens, this model's context {self.max_context}; "
                "shorten the prompt or give the worker a larger `context`.",
                code="model.prompt_too_long",
            )
        left = min(sampling.max_tokens - done, room)
        body = completion_body(prompt, sampling, left, self._settings.top_k)
        async with self._admission.admit(generation.priority):
            finished, reader = False, Reader(done)
            try:
                async with aclosing(self._events(body)) as events:
                    async for event in events:
                        piece = reader.on(event)
                        if piece is None:
                            continue
                        finished = piece.chunk.finish is not None
                        if piece.chunk.cached_tokens is not None:
                            self._prompt_tokens += len(prompt)
                            self._cached_tokens += piece.chunk.cached_tokens
                        yield await self._with_ids(piece.chunk) if piece.lacks_ids else piece.chunk
                if not finished:
                    raise EngineDeadError("llama.cpp ended a generation without saying why.")
            finally:
                if not finished:
                    await self._freed()

    async def _with_ids(self, chunk: TokenChunk) -> TokenChunk:
        """The ids that were left out, if the text gives them back beyond doubt; else none at all."""
        ids = await self._ids(chunk.text, add_special=False)
        surely = len(ids) == chunk.tokens and ids[-1:] == chunk.token_ids[-1:]
        return dataclasses.replace(chunk, token_ids=ids if surely else (), logprobs=())

    async def _events(self, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        try:
            async with self._client().stream("POST", "/completion", json=body) as response:
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    raise_error(response.json()["error"])
                async for line in response.aiter_lines():
                    kind, _, payload = line.partition(": ")
                    if kind == "data":
                        yield json.loads(payload)
                    elif kind == "error":
                        raise_error(json.loads(payload))
        except httpx.TransportError as gone:
            raise EngineDeadError("llama.cpp's server in this process does not answer.") from gone

    async def _freed(self) -> None:
        """Wait until no slot works on a generation that was given up."""
        try:
            async with asyncio.timeout(_FREED_SECONDS_MAX):
                while await self._busy_slots() >= self._admission.running > 0:  # noqa: ASYNC110 (the server tells nobody)
                    await asyncio.sleep(0.005)
        except (TimeoutError, EngineDeadError):
            return

    async def _busy_slots(self) -> int:
        return sum(bool(slot["is_processing"]) for slot in await self._json("GET", "/slots"))

    async def load(self) -> EngineLoad:
        """Running and waiting generations; in `extra`, prompt tokens so far and how many of them were cached."""
        return EngineLoad(
            running=self._admission.running,
            waiting=self._admission.waiting,
            extra={"prompt_tokens": float(self._prompt_tokens), "cached_tokens": float(self._cached_tokens)},
        )

    async def close(self) -> None:
        """Free the model; what still generates ends with `EngineDeadError`."""
        http, self._http = self._http, None
        server, self._server = self._server, None
        if http is not None:
            await http.aclose()
        if server is not None:
            holder = [server]
            del server
            await asyncio.to_thread(holder.clear)  # the destructor waits for llama.cpp's threads

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            raise EngineDeadError("the llama.cpp engine is not started, or closed already.")
        return self._http

    async def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            response = await self._client().request(method, path, json=body)
            response.raise_for_status()
            return response.json()
        except httpx.HTTPError as gone:
            raise EngineDeadError("llama.cpp's server in this process does not answer.") from gone


def create(settings: Mapping[str, object]) -> LlamaCppEngine:
    """The entry point: an engine that is not started yet."""
    return LlamaCppEngine(LlamaCppSettings(**settings))  # type: ignore[arg-type]
