"""Settings of the console: flag over environment over default; read once, passed down, never global."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Count = Annotated[int, Field(strict=True, ge=1)]

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class ConsoleSettings(BaseSettings):
    """Where the console listens, whom it lets in, and what it takes from one of them."""

    model_config = SettingsConfigDict(
        env_prefix="DESCANT_CONSOLE_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )
    host: str = "127.0.0.1"
    """Address to listen on. Any other than loopback needs a token."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8_400
    """0: any free port; the line `ready` says which."""
    token: SecretStr | None = None
    """Whoever has it may do everything: programs send it as a bearer token, people type it once. Never printed."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which browsers may reach it, beside loopback and `host`; others are refused (DNS rebinding)."""
    body_bytes_max: Count = 1_000_000
    """Of one request's body: what Kafka takes as one record by default."""
    writes_per_minute: Count = 600
    """Of one client: submissions, cancels, labels, log-ins. As many may come at once."""
    streams_max: Count = 64
    """Event streams open at once, of all clients together; each holds a bounded queue."""
    requests_kept: Count = 200
    """Requests a pipeline that the live page can show; older ones are forgotten."""
    flags_kept: Count = 20_000
    """Newest flags that the flags page can show; all of them stay on `assertions.flags`."""

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK
