"""What the learning commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streams.cli.options import kafka_or_fail
from streams.settings import KafkaSettings

StoreFolder = Annotated[
    Path, typer.Option("--store", envvar="DESCANT_ARTEFACTS", help="Folder of artefacts.", file_okay=False)
]
"""`store: StoreFolder = Path("artefacts")` in a command."""

tables = Console(highlight=False)


def kafka_of(bootstrap: str | None) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka_or_fail(bootstrap))
