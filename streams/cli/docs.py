"""Reference documents, written from the code."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from streams import metrics as catalogue
from streams.cli.options import load_pipeline
from streams.flow.asyncapi import asyncapi as document_of

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

Out = Annotated[Path | None, typer.Option("--out", "-o", dir_okay=False, help="A file instead of standard output.")]


@app.command()
def asyncapi(
    pipeline: Annotated[str, typer.Argument(metavar="MODULE:PIPELINE", help="For example mine.flow:factcheck.")],
    out: Out = None,
) -> None:
    """Describe a pipeline's topics as AsyncAPI 3.0, with the JSON schemas of what they carry.

    Example: descant docs asyncapi mine.flow:factcheck --out factcheck.json
    """
    _give(json.dumps(document_of(load_pipeline(pipeline).plan, version("descant")), indent=2, ensure_ascii=False), out)


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
