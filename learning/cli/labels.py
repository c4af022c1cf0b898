"""Label examples: one at a time, or as files."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from learning import desk
from learning.cli.shared import kafka_of
from learning.errors import LabelError
from learning.exchange import Format, export_requests, import_labels
from learning.labels import check
from learning.problems import problems
from learning.records import LabelSource
from streams.cli.options import AsJson, Bootstrap, messages, print_json

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

Labeller = Annotated[str | None, typer.Option("--labeller", help="Who says so. Without it: your login name.")]


@app.command("next")
def next_labels(
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1)] = 1,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Show the oldest examples that nobody has labelled.

    Example: descant labels next --model verifier -n 5
    """
    known = desk.learned(kafka_of(bootstrap))
    found = known.labels.pending(model)[:count]
    if as_json:
        print_json([request.model_dump(mode="json") for request in found])
        return
    for request in found:
        shown = json.dumps(request.example, ensure_ascii=False, indent=1)
        typer.echo(f"{request.id}  ({request.model}; predicted {request.predicted}; {', '.join(request.severities)})")
        typer.echo(shown)
        typer.echo(f"descant labels submit {request.id} {'|'.join(request.classes)}")
    if not found:
        messages.print("nothing waits for a label")


@app.command()
def submit(
    example: str,
    value: Annotated[str | None, typer.Argument(help="The class; not with --withdraw.")] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take your label back.")] = False,
    labeller: Labeller = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Label one example, or take a label back.

    Examples: descant labels submit EXAMPLE refuted · descant labels submit EXAMPLE --withdraw
    """
    who = labeller or getpass.getuser()
    if withdraw == (value is not None):
        raise typer.BadParameter("give a class, or --withdraw")
    kafka = kafka_of(bootstrap)
    label = (
        desk.withdraw(kafka, example, labeller=who)
        if value is None
        else desk.submit(kafka, example, value, labeller=who)
    )
    if as_json:
        print_json(label.model_dump(mode="json"))
    else:
        messages.print(f"{example}: {label.value or 'withdrawn'}, by {who}")


@app.command()
def dismiss(example: str, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Say that nobody can label this one; it waits no longer.

    Example: descant labels dismiss EXAMPLE
    """
    request = desk.dismiss(kafka_of(bootstrap), example)
    if as_json:
        print_json(request.model_dump(mode="json"))
    else:
        messages.print(f"{example} is dismissed")


@app.command("problems")
def list_problems(bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Labels that cannot be used and why, and examples on which labellers disagree."""
    found = problems(desk.learned(kafka_of(bootstrap)))
    if as_json:
        print_json([asdict(problem) for problem in found])
        return
    for problem in found:
        typer.echo(f"{problem.example}  [{problem.code}] {problem.why}")
    if not found:
        messages.print("none")


@app.command("export")
def export_labels(
    form: Annotated[Format, typer.Option("--format")] = Format.JSONL,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Write the open label requests to standard output, for another tool.

    Example: descant labels export --model verifier --format label-studio > tasks.json
    """
    typer.echo(export_requests(desk.learned(kafka_of(bootstrap)).labels.pending(model), form), nl=False)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    form: Annotated[Format, typer.Option("--format")] = Format.JSONL,
    oracle: Annotated[bool, typer.Option("--oracle", help="A program made these labels, no person.")] = False,
    labeller: Labeller = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Read labels from a file. A row that cannot be used is told and left out; the same file twice changes
    nothing.

    Example: descant labels import labels.json --format label-studio
    """
    kafka = kafka_of(bootstrap)
    source = LabelSource.ORACLE if oracle else LabelSource.IMPORT
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LabelError(
            f"{file.name} is no text in UTF-8. Nothing was imported.", code="learning.label.import"
        ) from error
    read = import_labels(text, form, labeller=labeller or getpass.getuser(), at=datetime.now(UTC), source=source)
    known = desk.learned(kafka).labels
    taken, refused = [], []
    for label in read:
        try:
            if label.example not in known.requests:
                raise LabelError("nobody asked for it", code="learning.label.unknown")
            check(label, known.requests[label.example])
        except LabelError as error:
            refused.append({"example": label.example, "code": error.code, "why": str(error)})
        else:
            taken.append(label)
    if taken:
        desk.publish(kafka, taken)
    if as_json:
        print_json({"imported": len(taken), "refused": refused})
        return
    for row in refused:
        messages.print(f"left out {row['example']}: {row['why']}", markup=False)
    messages.print(f"{len(taken)} labels imported, {len(refused)} left out")
