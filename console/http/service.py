"""Workers, and whether the console itself is well."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from console.http.streams import HubOf
from console.state.fleet import FleetView

router = APIRouter(tags=["service"])


class PipelineHealth(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str
    is_connected: bool


class Health(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    status: Literal["ok", "waiting"]
    """`waiting`: a pipeline's topics, or Kafka itself, are not there yet; the HTTP status is then 503."""
    pipelines: list[PipelineHealth]
    uptime_seconds: float


@router.get("/v1/workers")
async def list_workers(hub: HubOf) -> FleetView:
    """Workers and lanes, as they announce themselves."""
    return hub.workers()


@router.get("/healthz")
async def health(hub: HubOf, response: Response) -> Health:
    """200 when every pipeline is connected."""
    rows = [PipelineHealth(name=name, is_connected=feed.is_connected) for name, feed in hub.feeds.items()]
    is_ok = all(row.is_connected for row in rows)
    response.status_code = 200 if is_ok else 503
    return Health(
        status="ok" if is_ok else "waiting", pipelines=rows, uptime_seconds=round(time.time() - hub.started_at, 1)
    )
