"""What the commands share: options, how they find Kafka and pipelines, how they print."""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from streams.broker import bootstrap_servers, broker_status
from streams.cli.logs import LogFormat
from streams.cli.stdout import kept
from streams.cli.usage import UsageError
from streams.errors import ConfigError

Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap",
        envvar="KAFKA_BOOTSTRAP_SERVERS",
        metavar="HOST:PORT,...",
        help="The Kafka to use. Without it: the one that `descant broker up` started.",
    ),
]
"""`bootstrap: Bootstrap = None` in a command; hand it to `kafka_or_fail`."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs.")]
"""`as_json: AsJson = False` in a command."""

HealthFile = Annotated[
    Path | None,
    typer.Option(
        envvar="DESCANT_HEALTH_FILE",
        dir_okay=False,
        help="Touched every second while the process is ready and its event loop turns; removed when it leaves.",
    ),
]
"""`health_file: HealthFile = None` in a command; hand it to `run_until_stopped`."""

Metrics = Annotated[
    str | None,
    typer.Option(
        envvar="DESCANT_METRICS",
        metavar="[HOST:]PORT",
        help="Serve Prometheus metrics there; docs/metrics.md lists them.",
    ),
]
"""`metrics: Metrics = None` in a command; hand it to `run_until_stopped`."""

Logs = Annotated[
    LogFormat | None,
    typer.Option(
        "--log-format",
        envvar="DESCANT_LOG_FORMAT",
        help="Of the log on standard error; by default text on a terminal, else JSON.",
    ),
]
"""`log_format: Logs = None` in a command; hand it to `run_until_stopped`."""

messages = Console(stderr=True, highlight=False)
"""Where progress and remarks go, so that standard output holds the result alone."""


def progress(line: str) -> None:
    """Tell the user what is being waited for; fits every `on_progress`."""
    messages.print(line, style="dim", markup=False)


def print_json(document: Any) -> None:
    """Print one JSON document on one line of standard output."""
    typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False), file=kept())


def kafka_or_fail(explicit: str | None) -> str:
    """The Kafka to use: what the user named, else the background broker. Raises ConfigError, kafka.unnamed."""
    named = bootstrap_servers(explicit)
    if named is not None:
        return named
    running = broker_status()
    if running is not None:
        return running.bootstrap
    raise ConfigError(
        "no Kafka is named and none runs in the background. Give --bootstrap HOST:PORT, set KAFKA_BOOTSTRAP_SERVERS, "
        "or start one with `descant broker up`.",
        code="kafka.unnamed",
    )


def load_pipeline(reference: str) -> Any:
    """What MODULE:NAME names, with the current folder on the import path as `python -m` has it.

    Raises UsageError for something of another form, ConfigError (`pipeline.module`, `pipeline.name`) with what is
    there instead. An error inside the user's module comes through as it is: DESCANT_DEBUG=1 shows where.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise UsageError(
            f"{reference!r} does not name a pipeline. Write MODULE:NAME, as in examples.factcheck:factcheck."
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"{module_name} needs the Python package {error.name!r}, which is not installed. Install it first.",
                code="pipeline.module",
            ) from error
        raise ConfigError(
            f"there is no module {error.name!r} for {reference!r}, neither in {here} nor installed. "
            "Run this in the folder that holds it.",
            code="pipeline.module",
        ) from error
    if not hasattr(module, name):
        raise ConfigError(
            f"{module_name} ({os.path.relpath(module.__file__ or '?')}) has no {name!r}.{_instead(module)}",
            code="pipeline.name",
        )
    return getattr(module, name)


def _instead(module: Any) -> str:
    kinds = ("Pipeline", "Recipe")
    found = sorted(name for name, value in vars(module).items() if type(value).__name__ in kinds)
    return f" It has {', '.join(found)}." if found else " It has no pipeline and no recipe at all."
