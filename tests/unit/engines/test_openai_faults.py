"""Servers that fail: what is tried again, what is not, and whose fault it is said to be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest

from streams.errors import ConfigError
from workers.engines.openai import OpenAIEngine
from workers.engines.protocol import Generation, Sampling
from workers.errors import EngineDeadError, PromptError
from workers.settings import OpenAISettings

KEY = "sk-very-secret"
MODELS = json.dumps({"data": [{"id": "tiny", "max_model_len": 128}]})


def answer(status: int, body: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()


def stream(*texts: str, ended: bool = True) -> bytes:
    """Server-sent events without a length: the connection's end is the body's."""
    events = [{"choices": [{"text": text, "finish_reason": None}]} for text in texts]
    if ended:
        events.append({"choices": [{"text": "", "finish_reason": "length"}]})
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + ("data: [DONE]\n\n" if ended else "")
    return f"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}".encode()


class Server:
    """Answers completions with a script, in order; everything else as a small server would."""

    def __init__(self, script: Sequence[bytes], models: bytes) -> None:
        self.script, self.models, self.completions, self.url = list(script), models, 0, ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/completions" in head.splitlines()[0]:
            self.completions += 1
            writer.write(self.script.pop(0))
        else:
            writer.write(self.models if b"/models" in head.splitlines()[0] else answer(404))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def served(*script: bytes, models: bytes = answer(200, MODELS)) -> AsyncIterator[Server]:
    server = Server(script, models)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    async with listening:
        yield server


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


async def test_no_server_is_a_setting_to_change() -> None:
    async with served() as server:
        pass
    with pytest.raises(ConfigError) as refused:
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
