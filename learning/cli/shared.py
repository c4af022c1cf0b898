"""What the learning commands share."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from streams.cli.options import kafka_or_fail
from streams.settings import KafkaSettings

StorePlace = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="DESCANT_ARTEFACTS",
        help="Where artefacts lie: a folder (without it: artefacts), or s3://bucket/prefix.",
    ),
]
"""`store: StorePlace = None` in a command."""

tables = Console(highlight=False)


def kafka_of(bootstrap: str | None) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka_or_fail(bootstrap))
