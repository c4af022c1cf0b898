"""Run the retraining job, compare selectors, measure assertions' precision."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import numpy as np
import structlog
import typer
from rich.table import Table

from learning import desk
from learning.artefacts import FolderStore
from learning.cli.shared import StoreFolder, kafka_of, tables
from learning.compare import compare as compare_selectors
from learning.intervals import wilson
from learning.labels import precision
from learning.select import registry
from streams.cli.logs import configure_logs
from streams.cli.options import AsJson, Bootstrap, Logs, Metrics, load_pipeline, print_json
from streams.cli.service import say_ready
from streams.errors import ConfigError
from streams.metrics import serve_metrics

log = structlog.get_logger(__name__)

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.command("run")
def run_job(
    recipe: Annotated[list[str], typer.Argument(metavar="MODULE:RECIPE...", help="For example mine.verifier:recipe.")],
    store: StoreFolder = Path("artefacts"),
    bootstrap: Bootstrap = None,
    metrics: Metrics = None,
    log_format: Logs = None,
) -> None:
    """Retrain these models as labels come, until Ctrl-C or SIGTERM. Start several: each model has one job at a
    time."""
    # Imported here because scikit-learn takes seconds, and only this command trains.
    from learning.job import RetrainingJob  # noqa: PLC0415
    from learning.training import Recipe  # noqa: PLC0415

    configure_logs(log_format, "learning")
    if metrics is not None:
        serve_metrics(metrics)
    recipes = [load_pipeline(name) for name in recipe]
    if wrong := [n for n, r in zip(recipe, recipes, strict=True) if not isinstance(r, Recipe)]:
        raise ConfigError(f"{', '.join(wrong)} is not a learning.training.Recipe.", code="learning.recipe")
    job = RetrainingJob(
        recipes, FolderStore(store), kafka_of(bootstrap),
        watch=lambda model, phase, word: log.info("retraining", model=model, phase=phase.value, step=word),
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: job.stop())
    signal.signal(signal.SIGINT, lambda *_: job.stop())
    say_ready({"models": " ".join(r.name for r in recipes)}, log_format=log_format)
    job.run()


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
    """
    with np.load(file, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    if missing := {"severities", "wrong"} - set(arrays):
        raise ConfigError(f"{file.name} lacks {', '.join(sorted(missing))}.", code="learning.compare")
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


@app.command("precision")
def assertion_precision(bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """What share of each assertion's judged flags people confirmed, with its interval."""
    found = {name: wilson(*counts) for name, counts in precision(desk.learned(kafka_of(bootstrap)).labels).items()}
    if as_json:
        print_json({name: interval.model_dump() for name, interval in found.items()})
        return
    table = Table("assertion", "precision", "95 %", "judged")
    for name, i in found.items():
        table.add_row(name, f"{i.value:.2f}", f"{i.low:.2f}-{i.high:.2f}", str(i.n))
    tables.print(table)
