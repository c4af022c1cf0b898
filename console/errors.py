"""Errors of the gateway; each is sent as `{"error": {"code", "message"}}` with its HTTP status."""

from __future__ import annotations

from streams.errors import ConfigError, DescantError


class GatewayError(DescantError):
    """A call that cannot be served. `status` is the HTTP status; `retry_after`, in seconds, a header of its answer."""

    code = "console"

    def __init__(self, message: str, *, code: str, status: int, retry_after: int | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.retry_after = retry_after


class ConsoleConfigError(ConfigError):
    """A console that must not start as it is configured."""

    code = "console.config"


def not_found(what: str, name: str, known: str = "") -> GatewayError:
    hint = f" There is {known}." if known else ""
    return GatewayError(f"there is no {what} {name!r}.{hint}", code=f"console.no_{what}", status=404)


def body(code: str, message: str, **more: object) -> dict[str, object]:
    """The JSON of every error that the gateway sends."""
    return {"error": {"code": code, "message": message, **more}}
