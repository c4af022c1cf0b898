"""What a client does with answers, without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from streams import Pipeline
from streams.client import Answer, Client
from streams.client.client import Handle
from streams.core.record import Envelope, Kind
from streams.runtime.topics import answers_topic
from streams.settings import KafkaSettings


def echo() -> Pipeline:
    p = Pipeline("echo")

    @p.stage
    def same(text: str) -> str:
        return text

    @p.flow
    def flow(text: str) -> str:
        return same(text)

    return p


class Behind:
    """A reader that has not read everything yet."""

    def __init__(self) -> None:
        self.is_caught_up = asyncio.Event()

    async def caught_up(self, topics: Collection[str]) -> None:
        assert topics == ["echo.same"]
        await self.is_caught_up.wait()


def answered(client: Client, name: str) -> Handle:
    handle = client._handles[name] = Handle(name, client, client._adapters)
    client._take(answers_topic("echo"), Envelope(name, Kind.ITEM), b'"hello"')
    return handle


async def test_an_id_that_is_asked_again_while_events_end_keeps_its_handle() -> None:
    client = Client(echo(), KafkaSettings(), watch=True)
    client._reader = reader = Behind()  # type: ignore[assignment]
    first = answered(client, "r")
    again = client._handles["r"] = Handle("r", client, client._adapters)
    reader.is_caught_up.set()
    assert [event.value async for event in first.events() if isinstance(event, Answer)] == ["hello"]
    assert client._handles == {"r": again}


async def test_events_end_also_where_the_client_is_left_before_all_is_read() -> None:
    client = Client(echo(), KafkaSettings(), watch=True)
    client._reader = Behind()  # type: ignore[assignment]
    handle = answered(client, "r")
    assert await handle.answer() == "hello"
    await asyncio.sleep(0)  # the wait has begun
    await client._tasks.close()
    assert [event.value async for event in handle.events() if isinstance(event, Answer)] == ["hello"]
    assert not client._handles
