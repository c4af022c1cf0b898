"""See, compare, promote and roll back model versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from learning import desk
from learning.cli.shared import kafka_of, tables
from learning.errors import TrainingError
from learning.jobs import newest_jobs, told_of
from learning.records import ModelVersion, Phase
from streams.cli.options import AsJson, Bootstrap, messages, print_json

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.command("list")
def list_models(bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Every version of every model, and what the gate said; and what retraining waits or has failed.

    Examples: descant models list · descant models list --json
    """
    learned = desk.learned(kafka_of(bootstrap))
    found = [v for _, versions in sorted(learned.versions.items()) for _, v in sorted(versions.items())]
    if as_json:
        print_json([version.model_dump(mode="json") for version in found])
        return
    table = Table("model", "version", "state", "labels", "accuracy", "gain", "gate")
    for v in found:
        gain = "" if v.gate.gain is None else f"{v.gate.gain.value:+.3f}"
        table.add_row(
            v.name, str(v.version), v.state.value, str(v.labels), f"{v.gate.accuracy.value:.3f}", gain,
            f"{v.gate.verdict.value}: {'; '.join(v.gate.reasons)}",
        )  # fmt: skip
    if found:
        tables.print(table)
    # On standard error, as other remarks are.
    for job in newest_jobs(learned):
        if job.phase is not Phase.PUBLISHED:
            messages.print(f"retraining of {job.model}: {told_of(job)}", markup=False, soft_wrap=True)
    if not found:
        messages.print("no model has a version yet")


@app.command()
def diff(model: str, first: int, second: int, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Compare two versions: labels, weak examples and conflicts of rules, accuracy, recall by class, assertion rates.

    Example: descant models diff verifier 1 2
    """
    known = {v.version: v for v in desk.learned(kafka_of(bootstrap)).known(model)}
    for number in (first, second):
        if number not in known:
            raise TrainingError(f"model {model!r} has no version {number}.", code="learning.models.unknown")
    lines = _difference(known[first], known[second])
    if as_json:
        print_json({name: list(pair) for name, pair in lines.items()})
        return
    table = Table("", f"version {first}", f"version {second}")
    for name, (was, now) in lines.items():
        table.add_row(name, str(was), str(now))
    tables.print(table)


def _difference(a: ModelVersion, b: ModelVersion) -> dict[str, tuple[Any, Any]]:
    lines: dict[str, tuple[Any, Any]] = {
        "state": (a.state.value, b.state.value),
        "labels": (a.labels, b.labels),
        "weak examples": (a.weak, b.weak),
        "conflicts of rules": (a.conflicts, b.conflicts),
        "training set": (a.training_set_digest[:12], b.training_set_digest[:12]),
        "accuracy": (round(a.gate.accuracy.value, 4), round(b.gate.accuracy.value, 4)),
    }
    for name in sorted({*a.gate.recall, *b.gate.recall}):
        pair = [v.gate.recall.get(name) for v in (a, b)]
        lines[f"recall of {name}"] = tuple(None if r is None else round(r.value, 4) for r in pair)  # type: ignore[assignment]
    for name in sorted({*a.gate.firings, *b.gate.firings}):
        rates = [v.gate.firings.get(name) for v in (a, b)]
        lines[f"{name} fires"] = tuple(None if r is None else round(r[1], 4) for r in rates)  # type: ignore[assignment]
    return lines


@app.command()
def promote(model: str, version: int, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Make a version current, whatever the gate said.

    Example: descant models promote verifier 2
    """
    _written(desk.promote(kafka_of(bootstrap), model, version), as_json=as_json)


@app.command()
def rollback(model: str, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Put the version before the current one back.

    Example: descant models rollback verifier
    """
    _written(desk.roll_back(kafka_of(bootstrap), model), as_json=as_json)


@app.command()
def canary(
    model: str,
    version: Annotated[int | None, typer.Argument(help="Not with --stop.")] = None,
    share: Annotated[float, typer.Option(min=0.001, max=0.999, help="Of the traffic.")] = 0.1,
    stop: Annotated[bool, typer.Option("--stop", help="Take its share from it again.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Try a version on a share of the traffic, beside the current one. `promote` ends it as well.

    Examples: descant models canary verifier 2 --share 0.05 · descant models canary verifier --stop
    """
    if stop == (version is not None):
        raise typer.BadParameter("give a version, or --stop")
    kafka = kafka_of(bootstrap)
    changed = desk.end_trial(kafka, model) if version is None else desk.try_out(kafka, model, version, share)
    _written(changed, as_json=as_json)


def _written(records: Sequence[ModelVersion], *, as_json: bool) -> None:
    if as_json:
        print_json([record.model_dump(mode="json") for record in records])
        return
    for record in records:
        messages.print(f"{record.name} version {record.version} is {record.state.value}")
    if not records:
        messages.print("it is current already")
