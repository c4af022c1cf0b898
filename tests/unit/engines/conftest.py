"""Every registered engine, started; where its model or its package is missing, the test is skipped and says so."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.unit.engines.servers import settings_of
from workers.engines.protocol import Engine
from workers.engines.registry import create_engine, engines

MARKS: Mapping[str, pytest.MarkDecorator] = {
    "llamacpp": pytest.mark.model,
    "openai": pytest.mark.model,  # against llama.cpp's own server
    "vllm": pytest.mark.vllm,
}
NEEDS: Mapping[str, str] = {"llamacpp": "xllamacpp", "openai": "xllamacpp", "vllm": "vllm"}


def _every_engine() -> list[object]:
    return [pytest.param(name, marks=MARKS.get(name, ())) for name in engines()]


@pytest.fixture(scope="module", params=_every_engine())
def engine_name(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed in this environment")
    return name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(engine_name: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    async with AsyncExitStack() as stack:
        settings = await settings_of(engine_name, stack, tmp_path_factory.mktemp(engine_name))
        engine = create_engine(engine_name, settings)
        await engine.start()
        stack.push_async_callback(engine.close)
        yield engine
