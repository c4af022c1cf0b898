"""`descant doctor`: is everything as it should be, and if not, what to do."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated

import confluent_kafka
import typer
from rich.console import Console
from rich.markup import escape

from streams.cli.options import AsJson, Bootstrap, kafka_or_fail, load_pipeline, print_json
from streams.runtime.cluster_checks import Finding
from streams.runtime.diagnosis import diagnose_cluster, diagnose_pipeline
from streams.settings import KafkaSettings, PipelineSettings

SIGNS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "problem": "[red]problem[/]"}


def command(
    pipeline: Annotated[
        str | None, typer.Argument(metavar="[MODULE:PIPELINE]", help="Look at its topics and groups as well.")
    ] = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Check the cluster and, where one is named, a pipeline on it; each finding says how to mend it. Changes nothing.

    Ends with status 1 when something is a problem; warnings are remarks.

    Examples: descant doctor · descant doctor mine.flow:factcheck --json
    """
    kafka, settings = KafkaSettings(bootstrap=kafka_or_fail(bootstrap)), PipelineSettings()
    found = [_versions(), *diagnose_cluster(kafka, settings)]
    if pipeline is not None:
        found += diagnose_pipeline(kafka, settings, load_pipeline(pipeline).plan)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in found]})
    else:
        _show(found)
    if any(finding.status == "problem" for finding in found):
        raise typer.Exit(1)


def _versions() -> Finding:
    client, library = confluent_kafka.version(), confluent_kafka.libversion()[0]
    return Finding("versions", "ok", f"descant {version('descant')}, confluent-kafka {client}, librdkafka {library}")


def _show(found: list[Finding]) -> None:
    console = Console(highlight=False)
    for finding in found:
        console.print(f"{SIGNS[finding.status]}  {escape(finding.check)}: {escape(finding.said)}", soft_wrap=True)
        if finding.fix:
            console.print(f"    {escape(finding.fix)}", style="dim", soft_wrap=True)
