"""Server-sent events: what a route yields, one JSON document a `data:` line, with the number open at once bounded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from pydantic import BaseModel
from sse_starlette import EventSourceResponse

from console.errors import GatewayError
from console.state.events import AnswerEvent, RequestEvent
from console.state.feed import Feed
from console.state.hub import Hub

PING_SECONDS: Final = 15
"""A comment after this silence, so that proxies keep the connection and a lost browser is noticed."""


def hub_of(request: Request) -> Hub:
    found: Hub = request.app.state.hub
    return found


HubOf = Annotated[Hub, Depends(hub_of)]
"""A route's parameter: the console's state."""


class Open:
    """Counts open streams."""

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self.count = 0

    def enter(self) -> None:
        """Raises GatewayError when as many are open as may be."""
        if self.count >= self._most:
            raise GatewayError(
                f"{self._most} event streams are open, which is all that this console serves at once.",
                code="console.streams",
                status=429,
                retry_after=5,
            )
        self.count += 1


def event_stream(request: Request, documents: AsyncIterator[BaseModel | str]) -> EventSourceResponse:
    """Raises GatewayError when too many are open."""
    opened: Open = request.app.state.open
    opened.enter()

    async def lines() -> AsyncGenerator[dict[str, Any], None]:
        try:
            async for document in documents:
                yield {"data": document if isinstance(document, str) else document.model_dump_json()}
        finally:
            opened.count -= 1

    return EventSourceResponse(lines(), ping=PING_SECONDS, headers={"x-accel-buffering": "no"})


async def follow(feed: Feed, request_id: str) -> AsyncGenerator[RequestEvent, None]:
    """What has happened to a request, then what happens, up to its answer.

    Raises GatewayError, before the first event, when it is not known.
    """
    live = feed.find(request_id)
    try:
        async with feed.subscribe(request_id) as news:
            for event in list(live.replay()):
                yield event
            if live.answer is not None:
                return
            async for batch in news:
                for event in list(live.replay()) if batch is None else batch:
                    yield event
                    if isinstance(event, AnswerEvent):
                        return
    finally:
        feed.unsubscribed(request_id)
