"""OpenTelemetry traces: one trace shows a request across processes, by the header `traceparent` of its records.

Off unless OTEL_TRACES_EXPORTER or an OTLP endpoint is set; then nothing of OpenTelemetry is imported, and a record
costs one look at a variable. Whether a request is traced is decided where it enters: by the client's header, else by
ingress and its sampler (OTEL_TRACES_SAMPLER). A record without `traceparent` is not traced anywhere below.

Spans hold ids, places, counts and outcomes; no prompt and no value.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from streams.core.ingress import TRACEPARENT
from streams.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

Attributes = Mapping[str, str | int | float | bool]

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Tracing:
    """Makes spans. One for each process; `current` gives it to whoever makes spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider: Final = provider
        self._tracer: Final = provider.get_tracer("descant", version("descant"))

    def root(self, name: str, parent: str, attributes: Attributes) -> Span:
        """A span below the client's traceparent; the first of a trace where it gave none."""
        return self._start(name, parent, attributes, None)

    def below(self, parent: str, name: str, attributes: Attributes, *, since: float | None = None) -> Span | None:
        """A span below the record that carried `parent`; None when that record is not traced.

        since   when it began, seconds since 1970; now by default
        """
        return self._start(name, parent, attributes, since) if parent else None

    def _start(self, name: str, parent: str, attributes: Attributes, since: float | None) -> Span:
        from opentelemetry.context import Context  # noqa: PLC0415 — the extra is needed only when it is on
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context  # noqa: PLC0415

        context = Context()
        if TRACEPARENT.fullmatch(parent):
            _, trace, span, flags = parent.split("-")
            known = SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
            context = set_span_in_context(NonRecordingSpan(known), context)
        return self._tracer.start_span(
            name, context, attributes=dict(attributes), start_time=None if since is None else int(since * 1e9)
        )

    def stop(self) -> None:
        """Send what is left, within the exporter's own time limit."""
        self._provider.shutdown()


def traceparent_of(span: Span) -> str:
    """What records made under this span carry."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def callers_traceparent() -> str:
    """Of the span that the calling code is in, where it uses OpenTelemetry; else empty."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    span: Span = trace.get_current_span()
    return traceparent_of(span) if span.get_span_context().is_valid else ""


_current: Tracing | None = None


def current() -> Tracing | None:
    """This process's tracing; None when it is off. Ask once, where you start."""
    return _current


def is_asked_for(environment: Mapping[str, str]) -> bool:
    """Whether the usual variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    return exporter not in ("", "none") or (not exporter and any(environment.get(name) for name in ENDPOINTS))


def start_tracing(service: str, exporter: SpanExporter | None = None) -> Tracing | None:
    """Start what the OTEL_* variables ask for, for this process; None when they ask for nothing.

    service   `service.name` where OTEL_SERVICE_NAME gives none
    exporter  instead of the one that they name
    Raises ConfigError, code `config.tracing`, when the packages are missing or the exporter is not known.
    """
    global _current  # noqa: PLW0603 — one for each process, as the metrics' registry
    if exporter is None and not is_asked_for(os.environ):
        return None
    try:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        given = exporter or _exporter()
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the OTEL_* variables ask for traces, which needs the package {error.name!r}: "
            "pip install 'descant[otel]', or set OTEL_TRACES_EXPORTER=none.",
            code="config.tracing",
        ) from None
    attributes: dict[str, str | int] = {"service.version": version("descant"), "process.pid": os.getpid()}
    if "OTEL_SERVICE_NAME" not in os.environ:
        attributes["service.name"] = service
    provider = TracerProvider(resource=Resource.create({**attributes}))
    provider.add_span_processor(BatchSpanProcessor(given))
    _current = Tracing(provider)
    return _current


def stop_tracing() -> None:
    """Send what is left and make no more spans."""
    global _current
    stopping, _current = _current, None
    if stopping is not None:
        stopping.stop()


def _exporter() -> SpanExporter:
    name = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    protocol = os.environ.get(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    )
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

        return ConsoleSpanExporter(out=sys.stderr)
    if (name, protocol) == ("otlp", "http/protobuf"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        return OTLPSpanExporter()
    if (name, protocol) == ("otlp", "grpc"):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter as GrpcSpanExporter,
        )

        grpc: SpanExporter = GrpcSpanExporter()
        return grpc
    raise ConfigError(
        f"OTEL_TRACES_EXPORTER={name} with protocol {protocol} is not known here: use otlp (http/protobuf, or grpc "
        "with opentelemetry-exporter-otlp-proto-grpc installed), console or none.",
        code="config.tracing",
    )
