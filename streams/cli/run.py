"""`descant run`: run a pipeline's stages in this process."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.options import AsJson, Bootstrap, HealthFile, Logs, Metrics, kafka_or_fail, load_pipeline
from streams.cli.service import run_until_stopped
from streams.runtime.process import PipelineProcess, roles_of
from streams.settings import KafkaSettings


def command(
    pipeline: Annotated[str, typer.Argument(metavar="MODULE:PIPELINE", help="For example mine.flow:factcheck.")],
    stage: Annotated[
        list[str] | None,
        typer.Option("--stage", "-s", help="A stage, `ingress` or `closer`; may be repeated. Without it: all of them."),
    ] = None,
    bootstrap: Bootstrap = None,
    health_file: HealthFile = None,
    metrics: Metrics = None,
    log_format: Logs = None,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline's stages, all of them or those named, until Ctrl-C or SIGTERM.

    Each stage is a consumer group: start as many processes of it as there are partitions to share. Models are served
    by `descant worker`.

    Examples: descant run mine.flow:factcheck · descant run mine.flow:factcheck --stage claims --stage evidence
    """
    plan = load_pipeline(pipeline).plan
    roles = tuple(stage or roles_of(plan))
    process = PipelineProcess(plan, roles, KafkaSettings(bootstrap=kafka_or_fail(bootstrap)))
    ready = {"pipeline": plan.pipeline, "stages": " ".join(roles)}
    service = f"{plan.pipeline}.{roles[0]}" if len(roles) == 1 else plan.pipeline
    run_until_stopped(
        process,
        ready,
        as_json=as_json,
        health_file=health_file,
        metrics=metrics,
        log_format=log_format,
        service=service,
    )
