"""The console's process: state and HTTP server, from the first to the last."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import Final, Self

import uvicorn

from console.errors import ConsoleConfigError
from console.http.app import create_app
from console.settings import ConsoleSettings
from console.state.hub import Hub
from streams.flow import Pipeline
from streams.settings import KafkaSettings

STOP_SECONDS: Final = 3
"""For calls under way; event streams are ended at once."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process has its own."""
        yield


class ConsoleServer:
    """`async with ConsoleServer(pipelines, kafka, settings) as server: await server.wait()`; `url` is where it is.

    Raises ConsoleConfigError when it would listen beyond loopback without a token, or cannot listen at all.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        kafka: KafkaSettings,
        settings: ConsoleSettings | None = None,
        *,
        assertion_groups: Sequence[str] = ("default",),
    ) -> None:
        self._settings: Final = settings or ConsoleSettings()
        if self._settings.token is None and not self._settings.is_loopback:
            raise ConsoleConfigError(
                f"without a token the console listens on loopback only, and not on {self._settings.host!r}: whoever "
                "reaches it could read every prompt. Give --token, or DESCANT_CONSOLE_TOKEN.",
                code="console.token",
            )
        if self._settings.token is not None and len(self._settings.token.get_secret_value()) < 16:
            raise ConsoleConfigError(
                "the token has fewer than 16 characters, which can be guessed. `openssl rand -hex 24` makes one.",
                code="console.token",
            )
        if not pipelines:
            raise ConsoleConfigError("name at least one pipeline, as MODULE:NAME.", code="console.pipelines")
        self._socket: Final = self._listen()
        self.url: Final = self._url()
        self._hub: Final = Hub(pipelines, kafka, self._settings, assertion_groups=assertion_groups)
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._hub.__aenter__()
        config = uvicorn.Config(
            create_app(self._hub),
            log_level="warning",
            access_log=False,  # addresses carry request ids
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_SECONDS,
            h11_max_incomplete_event_size=32_768,
            limit_concurrency=1_000,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        return self

    async def wait(self) -> None:
        """Return never, or raise what ended the server."""
        if self._serving is not None:
            await asyncio.shield(self._serving)

    async def __aexit__(self, *_: object) -> None:
        self._hub.end_streams()
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.gather(self._serving, return_exceptions=True)
        self._socket.close()
        await self._hub.__aexit__(None, None, None)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((self._settings.host, self._settings.port))
            found.listen(512)
        except OSError as error:
            found.close()
            raise ConsoleConfigError(
                f"cannot listen on {self._settings.host}:{self._settings.port}: {error.strerror}. "
                "Choose another --port.",
                code="console.listen",
            ) from None
        return found

    def _url(self) -> str:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self._socket.getsockname()[1]}"
