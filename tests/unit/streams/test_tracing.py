"""Tracing: when it is on, what it makes, and what records carry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streams.errors import ConfigError
from streams.tracing import Tracing, current, is_asked_for, start_tracing, stop_tracing, traceparent_of

CLIENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Iterator[Tracing]:
    made = start_tracing("test", exporter)
    assert made is not None
    yield made
    stop_tracing()


@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_SERVICE_NAME": "mine"}, False),
    ],
)
def test_the_usual_variables_turn_it_on(variables: dict[str, str], asked: bool) -> None:
    assert is_asked_for(variables) is asked


def test_off_imports_nothing_of_opentelemetry() -> None:
    code = (
        "import sys, streams.cli.run, workers.cli, streams.runtime.stage, workers.service.lanes\n"
        "from streams.tracing import start_tracing\n"
        "assert start_tracing('x') is None\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PATH": ""}, check=False).returncode == 0


def test_an_exporter_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(ConfigError, match="zipkin"):
        start_tracing("test")
    assert current() is None


def test_a_record_below_a_span_carries_it(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    root = tracing.root("ingress", CLIENT, {"descant.request": "r1"})
    child = tracing.below(traceparent_of(root), "stage", {}, since=1_000.0)
    assert child is not None
    child.end()
    root.end()
    stop_tracing()
    stage, ingress = exporter.get_finished_spans()
    assert f"{ingress.context.trace_id:032x}" == CLIENT[3:35]
    assert ingress.parent is not None
    assert f"{ingress.parent.span_id:016x}" == CLIENT[36:52]
    assert stage.parent is not None
    assert stage.parent.span_id == ingress.context.span_id
    assert stage.start_time == 1_000_000_000_000
    assert ingress.resource.attributes["service.name"] == "test"


def test_what_is_not_traced_where_it_entered_is_not_traced_below(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    assert tracing.below("", "stage", {}) is None
    unsampled = tracing.root("ingress", CLIENT[:-2] + "00", {})
    below = tracing.below(traceparent_of(unsampled), "stage", {})
    assert below is not None
    below.end()
    unsampled.end()
    stop_tracing()
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("stray", ["00-zz", CLIENT.upper(), "00-" + "0" * 32 + CLIENT[35:], CLIENT + "-more"])
def test_a_header_that_is_none_begins_a_trace(tracing: Tracing, exporter: InMemorySpanExporter, stray: str) -> None:
    tracing.root("ingress", stray, {}).end()
    stop_tracing()
    [span] = exporter.get_finished_spans()
    assert span.parent is None
