"""`descant graph`: draw a pipeline's flow."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from streams.cli.options import load_pipeline
from streams.errors import ConfigError
from streams.flow import Pipeline
from streams.flow.drawing import Drawing, drawing, to_mermaid, to_text
from streams.flow.svg import to_svg


class Format(enum.StrEnum):
    MERMAID = "mermaid"
    SVG = "svg"
    TEXT = "text"


_RENDER: Final[Mapping[Format, Callable[[Drawing], str]]] = {
    Format.MERMAID: to_mermaid,
    Format.SVG: to_svg,
    Format.TEXT: to_text,
}


def command(
    pipeline: Annotated[str, typer.Argument(metavar="MODULE:PIPELINE", help="For example mine.flow:factcheck.")],
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.MERMAID,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of the screen.")] = None,
) -> None:
    """Draw a pipeline's stages with their types, depths and keys."""
    found = load_pipeline(pipeline)
    if not isinstance(found, Pipeline):
        raise ConfigError(
            f"{pipeline} is a {type(found).__name__}, not a Pipeline. Name the Pipeline that its stages belong to.",
            code="pipeline.type",
        )
    drawn = _RENDER[form](drawing(found.plan))
    if output is None:
        typer.echo(drawn, nl=False)
        return
    try:
        output.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot write {output}: {error.strerror}. Choose another --output.", code="config.output"
        ) from error
