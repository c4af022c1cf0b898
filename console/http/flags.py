"""Flags: the newest, one with its other sides, and alerts as they are raised."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse

from assertions.core.alerting import AlertFilter, Sieve
from assertions.core.flag import Flag
from console.errors import not_found
from console.http.streams import HubOf, event_stream
from console.state.board import FlagPage, Side

router = APIRouter(prefix="/v1", tags=["flags"])

MinSeverity = Annotated[float, Query(ge=0, allow_inf_nan=False)]


class FlagDetailPage(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    flag: Flag
    others: list[Side] = Field(default_factory=list)
    """What it was judged against, nearest first: the other side of a contradiction."""


@router.get("/flags")
async def list_flags(
    hub: HubOf,
    count: Annotated[int, Query(ge=1, le=500)] = 50,
    before: str | None = None,
    assertion: str | None = None,
    min_severity: MinSeverity = 0.0,
    withdrawn: bool = False,
) -> FlagPage:
    """Flags, newest first, each as it last was."""
    return hub.board.page(
        count=count, before=before, assertion=assertion, min_severity=min_severity, withdrawn=withdrawn
    )


@router.get("/flags/{flag_id}")
async def show_flag(flag_id: str, hub: HubOf) -> FlagDetailPage:
    """One flag with the whole example, and the examples that it was judged against."""
    flag = hub.board.flag(flag_id)
    if flag is None:
        raise not_found("flag", flag_id)
    return FlagDetailPage(flag=flag, others=hub.board.sides(flag))


@router.get("/alerts", response_class=EventSourceResponse, responses={200: {"model": Flag}})
async def watch_alerts(
    request: Request,
    hub: HubOf,
    assertion: str | None = None,
    pipeline: str | None = None,
    tag: str | None = None,
    min_severity: MinSeverity = 0.0,
    standing: bool = False,
    every_state: bool = False,
    per_minute: Annotated[float | None, Query(ge=1, allow_inf_nan=False)] = None,
) -> EventSourceResponse:
    """Server-sent events: flags as they are raised, as CloudEvents, from now on.

    A flag comes once, and again if it is withdrawn; with `every_state`, at each change. `standing` waits until it
    cannot be withdrawn. `per_minute` is the most of one assertion. The stream of a reader that has fallen behind by
    thousands ends: read GET /v1/flags and connect again.
    """
    sieve = Sieve(AlertFilter(assertion, pipeline, min_severity, tag, standing), per_minute)

    async def flags() -> AsyncGenerator[str, None]:
        async with hub.flags.subscribe() as news:
            async for batch in news:
                if batch is None:
                    return
                for flag in batch:
                    if every_state:
                        delivered: tuple[Flag, ...] = (flag,) if sieve.only.admits(flag) else ()
                    else:
                        delivered = sieve.take(flag, time.monotonic())
                    for each in delivered:
                        yield each.model_dump_json(exclude_none=True)

    return event_stream(request, flags())
