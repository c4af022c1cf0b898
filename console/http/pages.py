"""The dashboard's pages: rendered here, kept up to date by one script each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import TypeAdapter
from starlette.responses import HTMLResponse, RedirectResponse, Response

from console.http.guards import COOKIE, SESSION_SECONDS, Sessions, session_of
from console.http.pipelines import describe
from console.http.streams import HubOf
from console.state.feed import Feed

router = APIRouter(include_in_schema=False)

_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent.parent / "templates"), autoescape=True, undefined=StrictUndefined
)

PAGES: Final = (
    ("requests", "/", "Requests"),
    ("flags", "/flags", "Flags"),
    ("labels", "/labels", "Labels"),
    ("models", "/models", "Models"),
    ("workers", "/workers", "Workers"),
)
"""(name, path, title), in the order of the navigation."""


@router.get("/")
async def requests_page(request: Request, hub: HubOf, pipeline: str | None = None) -> Response:
    chosen = hub.feed(pipeline) if pipeline else next(iter(hub.feeds.values()))
    return _page(
        request,
        "requests",
        pipelines=list(hub.feeds),
        pipeline=describe(chosen).model_dump(mode="json"),
        fields=fields_of(chosen),
    )


@router.get("/flags")
@router.get("/labels")
@router.get("/models")
@router.get("/workers")
async def other_page(request: Request) -> Response:
    return _page(request, request.url.path.strip("/"))


@router.get("/login")
async def login_page(request: Request) -> Response:
    return _login(request)


@router.post("/login")
async def log_in(request: Request, token: Annotated[str, Form()] = "", next: Annotated[str, Form()] = "/") -> Response:
    sessions: Sessions = request.app.state.sessions
    session = sessions.log_in(token.strip())
    if session is None:
        return _login(request, "That is not the token of this console.", status=403)
    answer = RedirectResponse(_local(next), 303)
    answer.set_cookie(
        COOKIE,
        session,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
async def log_out(request: Request) -> Response:
    sessions: Sessions = request.app.state.sessions
    sessions.log_out(session_of(request.headers))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


def missing(request: Request) -> Response:
    return _page(request, "missing", status=404)


def _login(request: Request, problem: str = "", status: int = 200) -> Response:
    sessions: Sessions = request.app.state.sessions
    if sessions.is_open:
        return RedirectResponse("/", 303)
    return _page(request, "login", status=status, problem=problem, next=_local(request.query_params.get("next", "/")))


def _page(request: Request, name: str, *, status: int = 200, **values: Any) -> Response:
    sessions: Sessions = request.app.state.sessions
    title = next((title for known, _, title in PAGES if known == name), "Descant")
    template = _TEMPLATES.get_template(f"{name}.html")
    html = template.render(page=name, title=title, pages=PAGES, has_login=not sessions.is_open, **values)
    return HTMLResponse(html, status)


def _local(path: str) -> str:
    """A path of this console; anything that could lead elsewhere becomes the front page."""
    parts = urlsplit(path)
    is_ours = not parts.scheme and not parts.netloc and path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_ours else "/"


def fields_of(feed: Feed) -> list[dict[str, Any]]:
    """The ask box: a field for each plain property of the request; one for its JSON where it has others."""
    schema = TypeAdapter(feed.plan.request_type).json_schema()
    if schema.get("type") != "object" or not schema.get("properties"):
        kind = "text" if schema.get("type") == "string" else "json"
        return [{"name": "", "kind": kind, "label": "Request", "is_required": True, "default": ""}]
    needed = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "kind": _FIELD_KINDS.get(str(rule.get("type")), "json"),
            "label": str(rule.get("title", name)),
            "is_required": name in needed,
            "default": rule.get("default", ""),
            "is_first": index == 0,
        }
        for index, (name, rule) in enumerate(schema["properties"].items())
    ]


_FIELD_KINDS: Final = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}
