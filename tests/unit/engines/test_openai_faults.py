"""Servers that fail: what is tried again, what is not, and whose fault it is said to be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from streams.errors import ConfigError
from tests.fixtures.openai_server import Server, answer, served, stream
from workers.engines.openai import OpenAIEngine
from workers.engines.protocol import Generation, Sampling
from workers.errors import EngineDeadError, PromptError
from workers.settings import OpenAISettings

KEY = "sk-very-secret"


@asynccontextmanager
async def engine_of(server: Server, **settings: object) -> AsyncIterator[OpenAIEngine]:
    wanted = OpenAISettings(base_url=server.url, api_key=KEY, **settings)  # type: ignore[arg-type]
    engine = OpenAIEngine(wanted)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def text_of(engine: OpenAIEngine) -> str:
    async with aclosing(engine.generate(Generation("g", "a private prompt", Sampling(max_tokens=3)))) as chunks:
        return "".join([chunk.text async for chunk in chunks])


async def test_what_the_server_says_of_its_model_is_believed() -> None:
    async with served() as server, engine_of(server) as engine:
        assert (engine.model, engine.max_context, engine.can_resume) == ("tiny", 128, False)


async def test_a_busy_server_is_asked_again_before_the_first_token() -> None:
    async with served(answer(503), stream("a", "b")) as server, engine_of(server) as engine:
        assert await text_of(engine) == "ab"
        assert server.completions == 2


async def test_a_server_that_stays_busy_is_given_up() -> None:
    async with served(answer(503), answer(503)) as server, engine_of(server, tries=2) as engine:
        with pytest.raises(EngineDeadError):
            await text_of(engine)
        assert server.completions == 2


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda: stream("a", ended=False), id="connection ends"),
        pytest.param(lambda: stream("a", ended=False) + b'data: {"error": {"message": "x"}}\n\n', id="error event"),
        pytest.param(lambda: stream("a", ended=False) + b'data: {"choi', id="half an event"),
    ],
)
async def test_a_text_that_has_begun_is_never_asked_for_again(broken: Callable[[], bytes]) -> None:
    async with served(broken(), stream("c")) as server, engine_of(server) as engine:
        with pytest.raises(EngineDeadError):
            await text_of(engine)
        assert server.completions == 1


async def test_a_prompt_too_long_is_the_users_fault_and_not_repeated() -> None:
    body = json.dumps({"error": {"message": "maximum context length is 128 tokens: a private prompt"}})
    async with served(answer(400, body)) as server, engine_of(server) as engine:
        with pytest.raises(PromptError) as refused:
            await text_of(engine)
        assert refused.value.code == "model.prompt_too_long"
        assert "private" not in str(refused.value)
        assert server.completions == 1


async def test_a_refused_key_is_a_setting_to_change_and_not_shown() -> None:
    async with served(models=answer(401)) as server:
        with pytest.raises(ConfigError) as refused:
            async with engine_of(server):
                pass
    assert refused.value.code == "config.engine_key"
    assert KEY not in str(refused.value)
    assert KEY not in repr(OpenAISettings(api_key=KEY))


async def test_a_model_that_is_not_served_is_refused_with_those_that_are() -> None:
    async with served() as server:
        with pytest.raises(ConfigError, match="tiny"):
            async with engine_of(server, model="huge"):
                pass


async def test_of_several_models_the_one_of_the_served_name_is_taken() -> None:
    several = json.dumps({"data": [{"id": "tiny"}, {"id": "huge"}]})
    async with served(models=answer(200, several)) as server:
        async with engine_of(server, served_name="huge") as engine:
            assert engine.model == "huge"
        with pytest.raises(ConfigError, match="huge, tiny"):
            async with engine_of(server, served_name="writer"):
                pass


async def test_no_server_is_a_setting_to_change() -> None:
    async with served() as server:
        pass
    with pytest.raises(ConfigError, match=r"does not answer.*DESCANT_OPENAI_BASE_URL") as refused:
        async with engine_of(server, start_seconds=0.3):
            pass
    assert refused.value.code == "config.engine_unreachable"


@pytest.mark.parametrize(("status", "body"), [(503, ""), (404, ""), (200, "<html>"), (200, "[]"), (200, "{}")])
async def test_a_server_of_something_else_or_not_ready_is_told_from_none(status: int, body: str) -> None:
    async with served(models=answer(status, body)) as server:
        with pytest.raises(ConfigError, match=f"status {status}") as refused:
            async with engine_of(server, start_seconds=0.3):
                pass
    assert refused.value.code == "config.engine_unreachable"


async def test_an_idle_engine_notices_that_its_server_is_gone() -> None:
    async with served() as server:
        engine = OpenAIEngine(OpenAISettings(base_url=server.url))
        await engine.start()
    with pytest.raises(EngineDeadError):
        await engine.load()
    await engine.close()
