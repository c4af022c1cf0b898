"""`descant top`: what runs, live."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from console.top.screen import screen
from console.top.snapshot import Snapshot
from console.top.watch import Watch
from streams.cli.options import AsJson, Bootstrap, kafka_or_fail, print_json
from streams.errors import BrokerError
from streams.settings import KafkaSettings

RATE_SECONDS = 1.0
"""Between the two looks that `--once` compares."""


def command(
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline, by its name.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and end.")] = False,
    every: Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="Between two looks.")] = 1.0,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Show pipelines, stages, lanes, workers and assertions as they run, until Ctrl-C. Joins no group, commits nothing.

    Needs no pipeline's code: what runs is told by topics, consumer groups and what workers announce.

    Examples: descant top · descant top factcheck --once · descant top --json
    """
    kafka = KafkaSettings(bootstrap=kafka_or_fail(bootstrap))
    if as_json or once:
        snapshot = asyncio.run(_once(kafka, pipeline))
        if as_json:
            print_json(snapshot.model_dump(mode="json"))
        else:
            _terminal().print(screen(snapshot))
        return
    asyncio.run(_live(kafka, pipeline, every))


def _terminal() -> Console:
    # Not a terminal: lines as long as the tables are, so that programs like grep see whole rows.
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=160)


async def _once(kafka: KafkaSettings, pipeline: str | None) -> Snapshot:
    async with Watch(kafka, pipeline) as watch:
        await watch.look()
        await asyncio.sleep(RATE_SECONDS)
        return await watch.look()


async def _live(kafka: KafkaSettings, pipeline: str | None, every: float) -> None:
    async with Watch(kafka, pipeline) as watch:
        shown = screen(await watch.look())
        with Live(shown, console=_terminal(), screen=True, auto_refresh=False) as live:
            while True:
                live.refresh()
                await asyncio.sleep(every)
                try:
                    shown = screen(await watch.look())
                except BrokerError as error:  # it may be restarting: what was last seen stays, and says so
                    live.update(Group(Text(str(error), style="red"), shown))
                else:
                    live.update(shown)
