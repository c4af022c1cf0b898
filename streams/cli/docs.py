"""Reference documents, written from the code."""

from __future__ import annotations

import json
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Final

import typer

from streams import metrics as catalogue
from streams.cli.options import load_pipeline
from streams.errors import ConfigError
from streams.flow.asyncapi import asyncapi as document_of

DOCUMENTS: Final = "descant.asyncapi"
"""Entry points: name -> a function of the version that gives an AsyncAPI document."""

SCHEMAS: Final = "descant.schemas"
"""Entry points: name -> a function that gives a JSON Schema."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

Out = Annotated[Path | None, typer.Option("--out", "-o", dir_okay=False, help="A file instead of standard output.")]


@app.command()
def asyncapi(
    pipeline: Annotated[
        str, typer.Argument(metavar="MODULE:PIPELINE", help="For example mine.flow:factcheck; or `assertions`.")
    ],
    out: Out = None,
) -> None:
    """Describe a pipeline's topics as AsyncAPI 3.0, with the JSON schemas of what they carry.

    Examples: descant docs asyncapi mine.flow:factcheck --out factcheck.json · descant docs asyncapi assertions
    """
    offered = {each.name: each for each in entry_points(group=DOCUMENTS)}.get(pipeline)
    if offered is not None:
        document = offered.load()(version("descant"))
    else:
        document = document_of(load_pipeline(pipeline).plan, version("descant"))
    _give(json.dumps(document, indent=2, ensure_ascii=False), out)


@app.command()
def schema(
    record: Annotated[str, typer.Argument(help="`flag`: what assertions raise.")],
    out: Out = None,
) -> None:
    """Write the JSON Schema of a record that other programs read.

    Example: descant docs schema flag --out flag.json
    """
    offered = {each.name: each for each in entry_points(group=SCHEMAS)}
    if record not in offered:
        raise ConfigError(
            f"there is no schema of {record!r}. There is: {', '.join(sorted(offered)) or 'none'}.", code="config.schema"
        )
    _give(json.dumps(offered[record].load()(), indent=2, ensure_ascii=False), out)


@app.command()
def metrics(out: Out = None) -> None:
    """List every metric that the processes export, as Markdown; docs/metrics.md is this."""
    _give(metrics_page(), out)


def metrics_page() -> str:
    lines = [
        "# Metrics",
        "",
        "Each process serves them for Prometheus with `--metrics [HOST:]PORT` (`DESCANT_METRICS`). Durations are in",
        "seconds. Labels never hold anything that a client chooses. This page is written by `descant docs metrics`.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for metric in catalogue.catalogue():
        [family] = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = " ".join(f"`{label}`" for label in metric._labelnames)
        lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(lines)


def _give(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text + "\n")
