"""`descant kubernetes`: the stages of a pipeline as Kubernetes manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from streams.cli.manifests import scaling, stages
from streams.cli.options import load_pipeline
from streams.settings import PipelineSettings


class _WithoutAliases(yaml.SafeDumper):
    """People read what it writes: labels that are used twice are written twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def command(
    pipeline: Annotated[str, typer.Argument(metavar="MODULE:PIPELINE", help="For example mine.flow:factcheck.")],
    image: Annotated[str, typer.Option(help="The image that has your pipeline and Descant in it.")] = "descant-base",
    scaled: Annotated[
        bool, typer.Option("--scaled", help="What KEDA needs to scale the stages, instead of the stages themselves.")
    ] = False,
    instances: Annotated[int, typer.Option(min=1, help="Of each stage, to begin with.")] = 2,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", dir_okay=False, help="A file instead of the screen.")
    ] = None,
) -> None:
    """Write a pipeline's topic job and stages as Kubernetes manifests, or their scaling by lag.

    deploy/kubernetes has what goes around them: settings, workers, assertions, console.

    Examples: descant kubernetes mine:checker --image mine:1.0 · descant kubernetes mine:checker --scaled
    """
    plan = load_pipeline(pipeline).plan
    made = scaling(plan, PipelineSettings()) if scaled else stages(plan, pipeline, image, instances)
    head = f"# Written by `descant kubernetes {pipeline}{' --scaled' if scaled else ''}`.\n"
    text = head + yaml.dump_all(made, Dumper=_WithoutAliases, sort_keys=False, width=120)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text)
