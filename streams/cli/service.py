"""Running a process until it is told to stop: signals, logs, and the line that says it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import structlog

from streams.cli.health import beat
from streams.cli.options import messages, print_json
from streams.metrics import serve_metrics


class Running(Protocol):
    async def wait(self) -> None:
        """Return never; raise what made the process unable to go on."""


def configure_logs() -> None:
    """One line an event on standard error, without payloads; `structlog` users may configure it otherwise."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=False) if sys.stderr.isatty() else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def run_until_stopped(
    process: AbstractAsyncContextManager[Running],
    ready: Mapping[str, object],
    *,
    as_json: bool,
    health_file: Path | None = None,
    metrics: str | None = None,
) -> None:
    """Enter, say that it is ready, and stay until SIGTERM, Ctrl-C or a failure; then leave in good order.

    `health_file` is fresh in between: older than a few seconds means that the process hangs, absent that it is not
    ready yet or is leaving.
    """
    configure_logs()
    if metrics is not None:
        serve_metrics(metrics)
    asyncio.run(_run(process, ready, health_file, as_json=as_json))


async def _run(
    process: AbstractAsyncContextManager[Running],
    ready: Mapping[str, object],
    health_file: Path | None,
    *,
    as_json: bool,
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
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
        _rarely_collect_garbage()
        _say(ready, as_json=as_json)
        await asyncio.wait([*lasting, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in lasting:
            if task.done():
                task.result()
    finally:
        for task in lasting:
            task.cancel()
        await process.__aexit__(None, None, None)


def _rarely_collect_garbage() -> None:
    """With 20,000 requests open the collector's default thresholds took 54 of 86 µs a record, to find nothing: what
    the core drops is freed by reference counts. Cycles of libraries are still found, each 50,000 allocations."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _say(ready: Mapping[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json({"event": "ready", **ready})
        sys.stdout.flush()
    else:
        messages.print("ready: " + ", ".join(f"{key} {value}" for key, value in ready.items()))
