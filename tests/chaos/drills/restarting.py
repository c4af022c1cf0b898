"""`descant`, but for its engines: none of them goes on with a text that another worker began."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

from streams.cli import main as descant
from workers import cli
from workers.engines.registry import create_engine


def _create(name: str, settings: Mapping[str, Any]) -> Any:
    engine = create_engine(name, settings)
    vars(engine)["can_resume"] = False
    return engine


def main() -> None:
    with patch.object(cli, "create_engine", _create):
        descant()
