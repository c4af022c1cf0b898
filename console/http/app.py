"""The application: routes behind guards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from console.errors import GatewayError, body
from console.http import chat, flags, learning, pages, pipelines, service
from console.http.guards import Guards, Sessions
from console.http.streams import Open
from console.state.hub import Hub
from streams import metrics
from streams.errors import BrokerError, DescantError, RecordError

STATIC: Final = Path(__file__).parent.parent / "static"


def create_app(hub: Hub) -> ASGIApp:
    """What uvicorn serves. The hub is entered and left by the caller."""
    settings = hub.settings
    app = FastAPI(
        title="Descant console",
        version=version("descant"),
        summary="Submit requests to streaming pipelines and follow them; flags, labels, models, workers.",
        # The interactive pages that come with FastAPI load scripts from elsewhere; /openapi.json is the document.
        docs_url=None,
        redoc_url=None,
    )
    app.state.hub = hub
    app.state.open = opened = Open(settings.streams_max)
    metrics.HTTP_STREAMS.set_function(lambda: opened.count)
    app.state.sessions = sessions = Sessions(settings.token.get_secret_value() if settings.token else None)
    for router in (pipelines.router, chat.router, flags.router, learning.router, service.router, pages.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    return Guards(app, settings, sessions)


async def _gateway(_: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)  # noqa: S101 — it is registered for these alone
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return JSONResponse(body(error.code, str(error)), error.status, headers)


async def _descant(_: Request, error: Exception) -> Response:
    assert isinstance(error, DescantError)  # noqa: S101 — same
    status = 503 if isinstance(error, BrokerError) else 422 if isinstance(error, RecordError) else 500
    return JSONResponse(body(error.code, str(error)), status)


async def _kafka(_: Request, error: Exception) -> Response:
    assert isinstance(error, KafkaException)  # noqa: S101 — same
    return JSONResponse(body("broker", f"Kafka cannot do that now: {error.args[0].str()}"), 503)


async def _invalid(_: Request, error: Exception) -> Response:
    """What does not fit, without its content: a request is not repeated in an error."""
    assert isinstance(error, RequestValidationError | ValidationError)  # noqa: S101 — same
    found: list[Any] = list(error.errors())
    fields = [{"at": ".".join(map(str, e["loc"])), "problem": e["msg"]} for e in found[:20]]
    first = fields[0] if fields else {"at": "", "problem": "it does not fit"}
    where = first["at"] or "the request"
    return JSONResponse(body("request.invalid", f"{where}: {first['problem']}.", fields=fields), 422)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 — same
    if error.status_code == 404 and "text/html" in request.headers.get("accept", ""):
        return pages.missing(request)
    code = {404: "console.no_page", 405: "console.method", 413: "console.body"}.get(error.status_code, "console.http")
    return JSONResponse(body(code, str(error.detail)), error.status_code, getattr(error, "headers", None))


_ANSWERS: Final[dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = {
    GatewayError: _gateway,
    DescantError: _descant,
    KafkaException: _kafka,
    RequestValidationError: _invalid,
    ValidationError: _invalid,
    HTTPException: _http,
}
