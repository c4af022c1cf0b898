"""What every call passes before it reaches a route: host, origin, size, credentials, rate. Plain ASGI, so that event
streams pass through unbuffered."""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.errors import body
from console.settings import LOOPBACK, ConsoleSettings
from streams import metrics

COOKIE: Final = "descant_session"
SESSION_SECONDS: Final = 12 * 3_600
SESSIONS_MAX: Final = 1_000
CLIENTS_MAX: Final = 10_000
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_PATHS: Final = ("/healthz", "/login", "/static/")
"""What is there without credentials: nothing of it tells of requests."""

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Sessions:
    """Browsers that have shown the token. In memory: after a restart people log in again."""

    def __init__(self, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._token: Final = token
        self._clock: Final = clock
        self._until: Final[OrderedDict[str, float]] = OrderedDict()

    @property
    def is_open(self) -> bool:
        """No token is set: loopback only, and everybody there may do everything."""
        return self._token is None

    def log_in(self, token: str) -> str | None:
        """A new session's id; None for a wrong token."""
        if not self.is_token(token):
            return None
        session = secrets.token_urlsafe(32)
        self._until[session] = self._clock() + SESSION_SECONDS
        if len(self._until) > SESSIONS_MAX:
            self._until.popitem(last=False)
        return session

    def log_out(self, session: str) -> None:
        self._until.pop(session, None)

    def is_token(self, token: str) -> bool:
        return self._token is not None and hmac.compare_digest(token.encode(), self._token.encode())

    def admits(self, headers: Headers) -> bool:
        if self.is_open:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_token(token.strip())
        return self._until.get(session_of(headers), 0.0) > self._clock()


def session_of(headers: Headers) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie is not None else ""


class Rate:
    """A bucket of `per_minute` for each client, refilled steadily."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute: Final = per_minute
        self._room: Final[OrderedDict[str, tuple[float, float]]] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """0 where the call is admitted, else seconds until one will be."""
        room, at = self._room.pop(client, (float(self._per_minute), now))
        room = min(float(self._per_minute), room + (now - at) * self._per_minute / 60)
        self._room[client] = (room - 1 if room >= 1 else room, now)
        if len(self._room) > CLIENTS_MAX:
            self._room.popitem(last=False)
        return 0.0 if room >= 1 else (1 - room) * 60 / self._per_minute


class Guards:
    """The outermost application."""

    def __init__(self, app: ASGIApp, settings: ConsoleSettings, sessions: Sessions) -> None:
        self._app: Final = app
        self._sessions: Final = sessions
        self._rate: Final = Rate(settings.writes_per_minute)
        self._body_max: Final = settings.body_bytes_max
        named = {*LOOPBACK, "[::1]", settings.host, *settings.allowed_hosts}
        # On all addresses and behind a token, the name tells nothing: a page elsewhere cannot know the token.
        self._hosts: Final = None if settings.token is not None and not settings.allowed_hosts else named

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        began, method = time.monotonic(), scope["method"] if scope["method"] in METHODS else "other"

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = f"{message['status'] // 100}xx"
                metrics.HTTP_SECONDS.labels(method, status).observe(time.monotonic() - began)
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                is_static = scope["path"].startswith("/static/") and message["status"] < 400
                headers.setdefault("cache-control", "no-cache" if is_static else "no-store")
                message["headers"] = headers.raw
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(dressed, *refusal)
            return
        await self._app(scope, self._counted(receive), dressed)

    def _refusal(self, scope: Scope) -> tuple[int, bytes, dict[str, str]] | None:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return _error(
                421,
                "console.host",
                "this console is not known under that name. Reach it by the address that it listens on, or allow the "
                "name with --allow-host.",
            )
        if method not in SAFE and _is_foreign(headers, host):
            return _error(403, "console.origin", "pages of another origin may not change anything here.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._body_max:
            return self._too_large()
        if method not in SAFE:
            client = scope.get("client") or ("", 0)
            wait = self._rate.wait(str(client[0]), time.monotonic())
            if wait > 0:
                status, text, _ = _error(429, "console.rate", "too many calls a minute: wait, then go on.")
                return status, text, {"retry-after": str(int(wait) + 1)}
        if path == "/login" or path.startswith(OPEN_PATHS) or self._sessions.admits(headers):
            return None
        if method in SAFE and "text/html" in headers.get("accept", ""):
            return 303, b"", {"location": f"/login?next={quote(path)}"}
        status, text, _ = _error(
            401,
            "console.token",
            "a token is needed: send `Authorization: Bearer ...` as `descant console` was given it.",
        )
        return status, text, {"www-authenticate": 'Bearer realm="descant"'}

    def _too_large(self) -> tuple[int, bytes, dict[str, str]]:
        return _error(413, "console.body", f"the body has more than {self._body_max} bytes.")

    def _counted(self, receive: Receive) -> Receive:
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._body_max:
                # Of the kind that the framework lets through from the reading of a body.
                raise HTTPException(413, f"the body has more than {self._body_max} bytes.")
            return message

        return counted


def _name(host: str) -> str:
    """Without the port: "localhost:8400" and "[::1]:8400" too."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


def _is_foreign(headers: Headers, host: str) -> bool:
    """Browsers say where a call that changes something comes from; programs do not."""
    if headers.get("sec-fetch-site") == "cross-site":
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != host


def _error(status: int, code: str, message: str) -> tuple[int, bytes, dict[str, str]]:
    return status, json.dumps(body(code, message)).encode(), {}


async def _answer(send: Send, status: int, text: bytes, headers: dict[str, str]) -> None:
    raw = [(b"content-length", str(len(text)).encode())]
    if text:
        raw.append((b"content-type", b"application/json"))
    raw += [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": text})
