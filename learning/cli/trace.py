"""`descant trace`: one id's way from flag to model version."""

from __future__ import annotations

from typing import Annotated

import typer

from learning import desk
from learning.artefacts import open_store
from learning.cli.shared import StorePlace, kafka_of
from learning.errors import ArtefactError
from learning.trace import trace
from streams.cli.options import AsJson, Bootstrap, messages, print_json


def command(
    name: Annotated[str, typer.Argument(metavar="FLAG_ID|EXAMPLE_ID")],
    store: StorePlace = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Follow a flag to its label request and labels, or the rules that spoke instead, training set and model versions.

    Example: descant trace EXAMPLE_ID --store artefacts
    """
    learned, artefacts = desk.learned(kafka_of(bootstrap)), open_store(store)
    try:
        found = trace(learned, artefacts, name)
    except ArtefactError as error:
        messages.print(
            f"model versions are not shown: {error} Or name the store with --store.", markup=False, soft_wrap=True
        )
        found = trace(learned, None, name)
    if as_json:
        print_json(
            [
                {
                    "example": t.example,
                    "model": t.model,
                    "flags": list(t.flags),
                    "request": None if t.request is None else t.request.model_dump(mode="json"),
                    "labels": [label.model_dump(mode="json") for label in t.labels],
                    "rules": list(t.rules),
                    "versions": [v.version for v in t.versions],
                }
                for t in found
            ]
        )
        return
    for t in found:
        typer.echo(f"flags      {', '.join(t.flags) or 'none'}")
        asked = "nobody was asked" if t.request is None else f"by {t.request.selector}, round {t.request.round}"
        typer.echo(f"request    {t.example} for {t.model}, {asked}")
        for label in t.labels:
            typer.echo(
                f"label      {label.value} by {label.labeller} ({label.source.value}), {label.labelled_at:%F %T}"
            )
        if t.rules:
            typer.echo(f"rules      {', '.join(t.rules)}")
        for v in t.versions:
            typer.echo(f"version    {v.name} {v.version}, {v.state.value}; training set {v.training_set_digest[:12]}")
