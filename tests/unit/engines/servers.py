"""What each engine needs before it can be tested: a small context, a server to talk to, a model folder."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.fixtures.tiny_llama import write_tiny_llama
from workers.engines.default_model import default_gguf

CONTEXT = 512


async def settings_of(name: str, stack: AsyncExitStack, folder: Path) -> dict[str, object]:
    """Settings for a test of the engine `name`; what has to be stopped afterwards is put on the stack."""
    if name == "llamacpp":
        return {"context": CONTEXT, "slots": 4, "parallel": 4}
    if name == "simulated":
        return {"context": CONTEXT, "speed": 20.0}
    if name == "openai":
        return {"base_url": await llamacpp_server(stack) + "/v1", "context": CONTEXT, "start_seconds": 20.0}
    if name == "vllm":
        path = write_tiny_llama(folder)
        return {"path": str(path), "context": CONTEXT, "parallel": 8, "engine_args": {"load_format": "dummy"}}
    return {}


async def llamacpp_server(stack: AsyncExitStack) -> str:
    """llama.cpp's own HTTP server with the default model, in this process; returns its address."""
    xllamacpp = pytest.importorskip("xllamacpp")
    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(default_gguf())
    wanted.n_parallel, wanted.n_ctx = 4, 4 * CONTEXT
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1
    wanted.ui, wanted.fit_params, wanted.verbosity, wanted.cache_ram_mib = False, False, 0, 0
    holder = [await asyncio.to_thread(xllamacpp.Server, wanted)]
    stack.callback(holder.clear)
    return str(holder[0].listening_address)
