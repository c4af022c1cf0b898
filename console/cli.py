"""`descant console`: the gateway and the dashboard."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from console.server import ConsoleServer
from console.settings import ConsoleSettings
from streams.cli.options import AsJson, Bootstrap, HealthFile, Logs, Metrics, kafka_or_fail, load_pipeline
from streams.cli.service import run_until_stopped
from streams.settings import KafkaSettings


def command(
    pipelines: Annotated[list[str], typer.Argument(metavar="MODULE:PIPELINE...", help="The pipelines to serve.")],
    host: Annotated[str | None, typer.Option(help="Address to listen on; beyond loopback a token is needed.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="0: any free one. By default 8400.")] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="DESCANT_CONSOLE_TOKEN", help="Whoever has it may do everything; the environment keeps it from `ps`."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name under which browsers may reach it; may be repeated.")
    ] = None,
    assertion_group: Annotated[
        list[str] | None, typer.Option(help="Of `descant assertions run`: where flags' other sides are read.")
    ] = None,
    bootstrap: Bootstrap = None,
    health_file: HealthFile = None,
    metrics: Metrics = None,
    log_format: Logs = None,
    as_json: AsJson = False,
) -> None:
    """Serve the dashboard and the HTTP gateway of one or more pipelines, until Ctrl-C or SIGTERM.

    Examples: descant console mine.flow:factcheck · DESCANT_CONSOLE_TOKEN=... descant console m:p --host 0.0.0.0
    """
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "token": token or None,
        "allowed_hosts": tuple(allow_host or ()) or None,
    }
    settings = ConsoleSettings(**{name: value for name, value in given.items() if value is not None})
    found = [load_pipeline(name) for name in pipelines]
    kafka = KafkaSettings(bootstrap=kafka_or_fail(bootstrap))
    server = ConsoleServer(found, kafka, settings, assertion_groups=assertion_group or ("default",))
    run_until_stopped(
        server,
        {"url": server.url, "pipelines": " ".join(pipeline.plan.pipeline for pipeline in found)},
        as_json=as_json,
        health_file=health_file,
        metrics=metrics,
        log_format=log_format,
        service="console",
    )
