"""Start, stop and look at a Kafka of your own, without Docker."""

import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from streams.broker import BackgroundBroker, EmbeddedKafka, broker_down, broker_status, broker_up
from streams.broker.background import DEFAULT_PORT
from streams.cli.options import AsJson, print_json, progress
from streams.errors import BrokerError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help=f"Port on 127.0.0.1; {DEFAULT_PORT} if not given, 0 takes a free one."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for its records, which are kept.", file_okay=False)
    ] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, and stop it at Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a Kafka in the background; says where it is if it runs already."""
    if foreground:
        _stay(EmbeddedKafka(data_dir, DEFAULT_PORT if port is None else port, progress, lasting=True), as_json)
        return
    _show(broker_up(port, data_dir, progress), as_json)


@app.command()
def down(as_json: AsJson = False) -> None:
    """Stop the Kafka that runs in the background; its records are kept."""
    stopped = broker_down()
    if as_json:
        print_json({"stopped": stopped is not None})
    else:
        typer.echo(f"stopped Kafka on {stopped.bootstrap}" if stopped else "no Kafka runs in the background")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say whether a Kafka runs in the background, and where; ends with status 1 if not."""
    running = broker_status()
    if running is not None:
        _show(running, as_json)
        return
    if as_json:
        print_json({"running": False})
    else:
        typer.echo("no Kafka runs in the background; start one with `descant broker up`")
    raise typer.Exit(1)


def _show(broker: BackgroundBroker, as_json: bool) -> None:
    if as_json:
        print_json({"running": True, **asdict(broker)})
        return
    typer.echo(f"Kafka runs on {broker.bootstrap} (process {broker.pid})")
    typer.echo(f"records  {broker.data_dir}\nlog      {broker.log_path}\nstop it  descant broker down")
    typer.echo(f"use it   export KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap}")


def _stay(kafka: EmbeddedKafka, as_json: bool) -> None:
    ended = threading.Event()
    with kafka:
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, lambda *_: ended.set())
        if as_json:
            print_json({"running": True, "bootstrap": kafka.bootstrap, "pid": kafka.pid})
        else:
            typer.echo(f"Kafka runs on {kafka.bootstrap}; Ctrl-C stops it")
        # Waited for in turns: the broker may end by itself.
        while kafka.is_running and not ended.wait(0.5):
            pass
        if not ended.is_set():
            raise BrokerError(f"Kafka ended by itself: {kafka.last_error()}", code="broker.ended")
