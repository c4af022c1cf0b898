"""Choose what to label, retrain, compare selectors, measure assertions' precision."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol
from zipfile import BadZipFile

import numpy as np
import structlog
import typer
from rich.table import Column, Table

from learning import desk
from learning.artefacts import open_store
from learning.cli.shared import StorePlace, kafka_of, tables
from learning.compare import compare as compare_selectors
from learning.jobs import newest_jobs, told_of
from learning.select import registry
from learning.worth import worth
from streams.cli.logs import LogFormat, configure_logs
from streams.cli.options import AsJson, Bootstrap, Logs, Metrics, load_pipeline, messages, print_json
from streams.cli.service import say_ready
from streams.errors import ConfigError
from streams.metrics import serve_metrics

if TYPE_CHECKING:
    from learning.training import Recipe

log = structlog.get_logger(__name__)

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


Recipes = Annotated[list[str], typer.Argument(metavar="MODULE:RECIPE...", help="For example mine.verifier:recipe.")]


class _Stoppable(Protocol):
    def run(self) -> None: ...
    def stop(self) -> None: ...


@app.command("run")
def run_job(
    recipe: Recipes,
    store: StorePlace = None,
    bootstrap: Bootstrap = None,
    metrics: Metrics = None,
    log_format: Logs = None,
    as_json: AsJson = False,
) -> None:
    """Retrain these models as labels and flags come, until Ctrl-C or SIGTERM. Start several: each model has one job at
    a time.

    Examples: descant learn run mine:recipe · descant learn run mine:recipe --store s3://models/team-a
    """
    # Imported here because scikit-learn takes seconds, and only these commands need it.
    from learning.job import RetrainingJob  # noqa: PLC0415

    configure_logs(log_format, "learning")
    recipes = _recipes(recipe)
    artefacts = open_store(store)
    artefacts.check()
    job = RetrainingJob(
        recipes, artefacts, kafka_of(bootstrap),
        watch=lambda model, phase, word: log.info("retraining", model=model, phase=phase.value, step=word),
    )  # fmt: skip
    _until_stopped(job, recipes, metrics, log_format, as_json=as_json)


@app.command()
def choose(
    recipe: Recipes,
    bootstrap: Bootstrap = None,
    metrics: Metrics = None,
    log_format: Logs = None,
    as_json: AsJson = False,
) -> None:
    """Choose what people label next among what assertions flag, until Ctrl-C or SIGTERM. Start several: each model has
    one chooser at a time.

    Example: descant learn choose mine:recipe
    """
    from learning.chooser import Chooser  # noqa: PLC0415

    configure_logs(log_format, "learning")
    recipes = _recipes(recipe)
    chooser = Chooser(
        recipes, kafka_of(bootstrap),
        watch=lambda model, number, count: log.info("asks for labels", model=model, round=number, requests=count),
    )  # fmt: skip
    _until_stopped(chooser, recipes, metrics, log_format, as_json=as_json)


def _recipes(names: Sequence[str]) -> list[Recipe]:
    from learning.training import Recipe  # noqa: PLC0415

    recipes = [load_pipeline(name) for name in names]
    if wrong := [n for n, r in zip(names, recipes, strict=True) if not isinstance(r, Recipe)]:
        raise ConfigError(f"{', '.join(wrong)} is not a learning.training.Recipe.", code="learning.recipe")
    return recipes


def _until_stopped(
    process: _Stoppable, recipes: Sequence[Recipe], metrics: str | None, log_format: LogFormat | None, *, as_json: bool
) -> None:
    if metrics is not None:
        serve_metrics(metrics)
    signal.signal(signal.SIGTERM, lambda *_: process.stop())
    signal.signal(signal.SIGINT, lambda *_: process.stop())
    say_ready({"models": " ".join(r.name for r in recipes)}, as_json=as_json, log_format=log_format)
    process.run()


@app.command()
def jobs(bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """What the newest retraining of each model came to, and what was asked for and has not begun.

    Examples: descant learn jobs · descant learn jobs --json
    """
    found = newest_jobs(desk.learned(kafka_of(bootstrap)))
    if as_json:
        print_json([job.model_dump(mode="json") for job in found])
        return
    for job in found:
        typer.echo(f"{job.model}  {told_of(job)}")
    if not found:
        messages.print("no model was ever retrained: descant learn run MODULE:RECIPE", markup=False)


@app.command()
def compare(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="npz: severities, wrong; uncertainty, ...")],
    budget: Annotated[int, typer.Option(min=1)] = 20,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seeds: Annotated[int, typer.Option(min=1)] = 10,
    selector: Annotated[list[str] | None, typer.Option("--selector", "-s")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay labelling of your own data with every selector: who finds the model's errors with how many labels?

    The file has `severities` (points, assertions) and `wrong` (points,), and may have `uncertainty`, `features` and
    `probabilities`.

    Example: descant learn compare data.npz --budget 50 --selector bal --selector random
    """
    try:
        with np.load(file, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (ValueError, AttributeError, TypeError, OSError, BadZipFile) as error:
        raise ConfigError(
            f"{file.name} is no npz file of arrays. Write one with numpy.savez.", code="learning.compare"
        ) from error
    if missing := {"severities", "wrong"} - set(arrays):
        raise ConfigError(f"{file.name} lacks {', '.join(sorted(missing))}.", code="learning.compare")
    if arrays["severities"].ndim != 2 or arrays["wrong"].shape != arrays["severities"].shape[:1]:
        raise ConfigError(
            f"{file.name} has severities of shape {arrays['severities'].shape} and wrong of {arrays['wrong'].shape}; "
            "they are (points, assertions) and (points,).",
            code="learning.compare",
        )
    more = {name: arrays[name] for name in ("features", "probabilities") if name in arrays}
    doubt = "uncertainty" in arrays or "probabilities" in arrays
    able = [
        name
        for name in registry.names()
        if not (name.startswith("skactiveml") and "features" not in arrays)
        and not (name in {"entropy", "least-confidence", "skactiveml-badge"} and "probabilities" not in arrays)
        and (name != "margin" or doubt)
    ]
    found = compare_selectors(
        arrays["severities"], arrays.get("uncertainty"), arrays["wrong"], selectors=selector or able, budget=budget,
        rounds=rounds, seeds=seeds, more=more,
    )  # fmt: skip
    if as_json:
        print_json([{"selector": f.selector, "errors": f.errors, "low": f.low, "high": f.high} for f in found])
        return
    table = Table("selector", *(f"{(i + 1) * budget} labels" for i in range(rounds)), "95 %", title="errors found")
    for f in found:
        table.add_row(f.selector, *(f"{e:.1f}" for e in f.errors), f"{f.low:.1f}-{f.high:.1f}")
    tables.print(table)


@app.command()
def assertions(bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """What each assertion is worth: its precision (the share of judged flags that people confirmed, with its interval)
    and its reduction (how much less it fires, on replayed traffic, with the current version than with the one
    before)."""
    found = worth(desk.learned(kafka_of(bootstrap)))
    if as_json:
        print_json([w.model_dump() for w in found])
        return
    numbers = [Column(name, no_wrap=True) for name in ("precision", "95 %", "judged", "fired", "fires", "reduction")]
    table = Table("model", "assertion", *numbers)
    if not found:
        messages.print("no assertion has flagged anything that was put up for labelling: descant learn choose")
        return
    for w in found:
        p = w.precision
        told = ("", "", "0") if p is None else (f"{p.value:.2f}", f"{p.low:.2f}-{p.high:.2f}", str(p.n))
        rates = ("" if share is None else f"{share:.1%}" for share in (w.fired, w.fires, w.reduction))
        table.add_row(w.model, w.assertion, *told, *rates)
    tables.print(table)
