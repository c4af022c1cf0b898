"""Running a process until it is told to stop: signals, logs, and the line that says it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
from confluent_kafka import KafkaException

from streams.cli.health import beat
from streams.cli.logs import LogFormat, configure_logs
from streams.cli.options import messages, print_json
from streams.cli.stdout import give_back, kept_for_json
from streams.errors import DescantError, LostContactError
from streams.metrics import serve_metrics
from streams.runtime.places import places_of
from streams.tracing import start_tracing, stop_tracing

LEAVE_SECONDS: Final = 20.0
"""For leaving in order with clients of which one has lost contact: engines end, groups hear of it."""

log = structlog.get_logger(__name__)


class Running(Protocol):
    async def wait(self) -> None:
        """Return never; raise what made the process unable to go on."""


def run_until_stopped(
    process: AbstractAsyncContextManager[Running],
    ready: Mapping[str, object],
    *,
    as_json: bool,
    health_file: Path | None = None,
    metrics: str | None = None,
    log_format: LogFormat | None = None,
    service: str = "descant",
) -> None:
    """Enter, say that it is ready, and stay until SIGTERM, Ctrl-C or a failure; then leave in good order.

    `health_file` is fresh in between: older than a few seconds means that the process hangs, absent that it is not
    ready yet or is leaving. `service` is what logs and traces call this process.

    Raises DescantError: what was raised for people as it is, anything else by its type and place alone, since the text
    of an error may quote what was processed. DESCANT_DEBUG=1 shows it.
    """
    configure_logs(log_format, service)
    if metrics is not None:
        serve_metrics(metrics)
    start_tracing(service)
    try:
        with kept_for_json() if as_json else contextlib.nullcontext():
            asyncio.run(_run(process, partial(say_ready, ready, as_json=as_json, log_format=log_format), health_file))
    except (DescantError, KafkaException):
        raise
    except Exception as error:
        [*_, place] = places_of(error)
        raise DescantError(f"{type(error).__name__} at {place} ended this process", code="internal") from error
    finally:
        stop_tracing()


async def _run(
    process: AbstractAsyncContextManager[Running], say: Callable[[], None], health_file: Path | None
) -> None:
    stopped = asyncio.Event()
    try:
        await _run_once(process, say, health_file, stopped)
    except LostContactError as error:
        # As after a kill, which everything here survives; the rest of this process may hang in its old client.
        log.error("ending" if stopped.is_set() else "starting anew", reason=str(error), code=error.code)
        for child in multiprocessing.active_children():  # an engine that has not ended would keep its GPU
            child.kill()
        give_back()
        if stopped.is_set():
            os._exit(0)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 — our own command, as it was given


async def _run_once(
    process: AbstractAsyncContextManager[Running],
    say: Callable[[], None],
    health_file: Path | None,
    stopped: asyncio.Event,
) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    _rarely_collect_garbage()  # before the start, which may have much to catch up with
    entering = asyncio.create_task(process.__aenter__())
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait([entering, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not entering.done():
        entering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await entering
        return
    running = entering.result()
    lasting: list[asyncio.Task[Any]] = [asyncio.create_task(running.wait())]
    if health_file is not None:
        lasting.append(asyncio.create_task(beat(health_file)))
    try:
        gc.collect()
        gc.freeze()
        say()
        await asyncio.wait([*lasting, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in lasting:
            if task.done():
                task.result()
    finally:
        for task in lasting:
            task.cancel()
        await _leave(process, has_lost_contact=isinstance(sys.exception(), LostContactError))


async def _leave(process: AbstractAsyncContextManager[Running], *, has_lost_contact: bool) -> None:
    leaving = process.__aexit__(None, None, None)
    if has_lost_contact:
        with contextlib.suppress(Exception):  # it starts anew in any case
            await asyncio.wait_for(leaving, LEAVE_SECONDS)
    else:
        await leaving


def _rarely_collect_garbage() -> None:
    """With 20,000 requests open the collector's default thresholds took 54 of 86 µs a record, to find nothing: what
    the core drops is freed by reference counts. Cycles of libraries are still found, each 50,000 allocations. What
    there is once the process is ready stays, and is looked at no more (`gc.freeze`)."""
    gc.set_threshold(50_000, 20, 100)


def say_ready(ready: Mapping[str, object], *, as_json: bool = False, log_format: LogFormat | None = None) -> None:
    """One line for whoever waits: a document on standard output, an event of the log, or a line for people."""
    if as_json:
        print_json({"event": "ready", **ready})
        sys.stdout.flush()
    elif log_format is LogFormat.JSON:
        log.info("ready", **ready)
    else:
        messages.print("ready: " + ", ".join(f"{key} {value}" for key, value in ready.items()))
