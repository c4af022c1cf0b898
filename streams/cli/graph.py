"""`descant graph`: draw a pipeline's flow."""

from __future__ import annotations

import enum
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from streams.errors import ConfigError, DescantError
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
    drawn = _RENDER[form](drawing(find_pipeline(pipeline).plan))
    if output is None:
        typer.echo(drawn, nl=False)
        return
    try:
        output.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot write {output}: {error.strerror}. Choose another --output.", code="config.output"
        ) from error


def find_pipeline(reference: str) -> Pipeline:
    """Import `MODULE:PIPELINE`, from the current folder, too. Raises ConfigError; FlowError if the flow is refused."""
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise ConfigError(
            f"{reference!r} does not name a pipeline. Write MODULE:PIPELINE, as in mine.flow:factcheck.",
            code="config.pipeline",
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except DescantError:
        raise
    except Exception as error:  # whatever the user's module raises when it is imported
        raise ConfigError(
            f"cannot import {module_name!r}: {type(error).__name__}: {error}. Start in the folder that has it, and "
            "install what it needs.",
            code="config.pipeline",
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, Pipeline):
        others = ", ".join(key for key, value in vars(module).items() if isinstance(value, Pipeline)) or "none"
        raise ConfigError(
            f"{module_name!r} has no pipeline {name!r}; those it has: {others}. Name one of them.",
            code="config.pipeline",
        )
    return found
