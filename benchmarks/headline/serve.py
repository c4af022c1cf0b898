"""One engine process: a Descant worker, and beside it the same engine for the LangGraph peer, as lines of JSON over TCP.

`python -m benchmarks.headline.serve ENGINE SETTINGS_JSON BOOTSTRAP PORT`. On the port, one JSON object a line:
{"prompt", "priority"} is answered with {"text"} when the text is whole, {"counts": true} with the totals so far.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from typing import Final

from benchmarks.headline.pipeline import TOKENS_MAX
from benchmarks.headline.texts import planned_tokens
from streams.cli.service import run_until_stopped
from streams.settings import KafkaSettings
from workers.engines.protocol import (
    CacheEvent,
    Engine,
    EngineLoad,
    Generation,
    ReportsCache,
    Sampling,
    TokenChunk,
)
from workers.engines.registry import create_engine
from workers.service.worker import Worker

LINE_BYTES_MAX: Final = 1 << 20


@dataclass(slots=True)
class Counts:
    """Totals since the start."""

    prompts: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    first_token_seconds: float = 0.0
    """From the engine's getting the prompt to its first token, summed over prompts."""
    decode_seconds: float = 0.0
    """From first to last token, summed."""


class PlannedEngine:
    """An engine whose texts end where their prompts plan it: dummy weights do not stop by themselves."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Final = engine
        self.counts: Final = Counts()
        self.model: Final = engine.model
        self.can_resume: Final = engine.can_resume

    @property
    def max_context(self) -> int:
        return self._engine.max_context

    @property
    def max_parallel(self) -> int:
        return self._engine.max_parallel

    @property
    def reports_cache(self) -> bool:
        return isinstance(self._engine, ReportsCache) and self._engine.reports_cache

    def on_cache(self, listener: Callable[[CacheEvent], None]) -> None:
        if isinstance(self._engine, ReportsCache):
            self._engine.on_cache(listener)

    async def start(self) -> None:
        await self._engine.start()

    async def generate(self, generation: Generation) -> AsyncGenerator[TokenChunk, None]:
        tokens = planned_tokens(generation.prompt)
        if tokens is not None:
            generation = replace(generation, sampling=replace(generation.sampling, max_tokens=tokens))
        loop = asyncio.get_running_loop()
        counts, began, first = self.counts, loop.time(), 0.0
        counts.prompts += 1
        counts.prompt_tokens += generation.prompt.count(" ")  # each word brings its own
        async with aclosing(self._engine.generate(generation)) as chunks:
            async for chunk in chunks:
                if not first:
                    first = loop.time()
                    counts.first_token_seconds += first - began
                    counts.cached_tokens += chunk.cached_tokens or 0
                counts.output_tokens += chunk.tokens
                yield chunk
        counts.decode_seconds += loop.time() - first if first else 0.0

    async def tokenize(self, prompt: str) -> tuple[int, ...]:
        return await self._engine.tokenize(prompt)

    async def load(self) -> EngineLoad:
        return await self._engine.load()

    async def close(self) -> None:
        await self._engine.close()


class Served(Worker):
    """A worker whose engine can also be asked over TCP, for whole texts."""

    def __init__(self, engine: PlannedEngine, kafka: KafkaSettings, port: int) -> None:
        super().__init__(engine, kafka)
        self._planned: Final = engine
        self._port: Final = port

    async def __aenter__(self) -> Served:
        await super().__aenter__()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=LINE_BYTES_MAX)
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                reply = await self._reply(json.loads(line))
                writer.write(json.dumps(reply).encode() + b"\n")
                await writer.drain()
        finally:
            writer.close()

    async def _reply(self, asked: dict[str, object]) -> dict[str, object]:
        if asked.get("counts"):
            return asdict(self._planned.counts)
        generation = Generation(
            id=uuid.uuid4().hex,
            prompt=str(asked["prompt"]),
            sampling=Sampling(max_tokens=TOKENS_MAX),
            priority=float(str(asked["priority"])),
        )
        async with aclosing(self._planned.generate(generation)) as chunks:
            return {"text": "".join([chunk.text async for chunk in chunks])}

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        await super().__aexit__(*error)


def main() -> None:
    name, settings, bootstrap, port = sys.argv[1:]
    engine = PlannedEngine(create_engine(name, json.loads(settings)))
    run_until_stopped(Served(engine, KafkaSettings(bootstrap=bootstrap), int(port)), {"port": port}, as_json=True)


if __name__ == "__main__":
    main()
