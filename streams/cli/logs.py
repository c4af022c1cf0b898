"""The log of a process: one line an event on standard error, without payloads."""

from __future__ import annotations

import enum
import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from streams.runtime.places import places_of


class LogFormat(enum.StrEnum):
    TEXT = "text"
    JSON = "json"


def configure_logs(form: LogFormat | None = None, service: str = "descant") -> None:
    """Our own events from `info` on, those of libraries from `warning` on, both in one form.

    form     None: text where a person looks on, else JSON
    service  in every line, as `service.name` is in traces
    """
    as_text = sys.stderr.isatty() if form is None else form is LogFormat.TEXT
    renderer: Any = structlog.dev.ConsoleRenderer(colors=False) if as_text else structlog.processors.JSONRenderer()

    def named(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    first: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        named,
    ]
    structlog.configure(
        processors=[*first, _without_texts, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*first, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _without_texts, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


def _without_texts(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception's text may quote what was processed: its type and its places are enough to find it."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        event["where"] = places_of(error)
    return event
