"""`descant alerts` and `descant assertions`: watch flags, run assertions, and see how they are doing."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from confluent_kafka.admin import AdminClient
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from assertions.catalogue import load
from assertions.core.definition import Assertion
from assertions.core.flag import Flag, FlagState
from assertions.core.observation import Observation
from assertions.errors import AssertionSetupError
from assertions.history import flags_of, health_of
from assertions.labels import LABELS, labelled, labels_on_topic, read_labels
from assertions.offline import evaluate, read_observations
from assertions.ranges import observations_of
from assertions.subscription import Since
from assertions.subscription import alerts as subscribe
from assertions.webhooks import Webhook, deliver
from streams.broker import bootstrap_servers, broker_status
from streams.cli.options import AsJson, Bootstrap, HealthFile, Logs, Metrics, kafka_or_fail, messages, print_json
from streams.cli.service import run_until_stopped
from streams.core.plan import Plan
from streams.runtime.topics import wait_for_kafka
from streams.settings import KafkaSettings

app = typer.Typer(no_args_is_help=True, help="Run model assertions and see how they are doing.")
Modules = Annotated[list[str] | None, typer.Argument(help="Python modules that define assertions.")]
Module = Annotated[list[str] | None, typer.Option("--module", "-m", help="A module that defines assertions.")]

console = Console(highlight=False)


def alerts(
    assertion: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    min_severity: Annotated[float, typer.Option(min=0.0, help="Only as bad as this, or worse.")] = 0.0,
    pipeline: Annotated[str | None, typer.Option(help="Only this pipeline's.")] = None,
    since: Annotated[str, typer.Option(help="now, beginning, a time (2026-01-31T12:00) or an age (15m, 2h).")] = "now",
    standing: Annotated[bool, typer.Option("--standing", help="Only flags that cannot be withdrawn any more.")] = False,
    per_minute: Annotated[float | None, typer.Option(min=1.0, help="Most alerts of one assertion.")] = None,
    resume: Annotated[
        str | None, typer.Option(help="A name; goes on where that name stopped. A webhook has one of its own.")
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(help="Post each alert here, signed with DESCANT_WEBHOOK_SECRET.")
    ] = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Watch flags as they are raised."""
    hook = _webhook(webhook) if webhook is not None else None
    kafka = _reached(bootstrap)
    subscription = subscribe(
        kafka,
        assertion=assertion,
        min_severity=min_severity,
        pipeline=pipeline,
        since=parse_since(since),
        standing_only=standing,
        per_minute=per_minute,
        resume=resume or (hook.name if hook is not None else None),
    )
    if not as_json:
        what = f"posting flags to {urlsplit(hook.url).hostname}" if hook is not None else "watching flags"
        messages.print(f"{escape(what)} on {kafka.bootstrap}; Ctrl-C ends it", style="dim")
    if hook is not None:
        asyncio.run(deliver(subscription, hook, kafka))
        return

    async def show() -> None:
        async for flag in subscription:
            print_json(flag.model_dump(mode="json", exclude_none=True)) if as_json else show_flag(flag)

    try:
        asyncio.run(show())
    finally:
        if limited := subscription.held_back.limited:
            messages.print("held back, over the rate: " + ", ".join(f"{n} {name}" for name, n in limited.items()))


def _reached(bootstrap: str | None) -> KafkaSettings:
    """Raises ConfigError where none is named, BrokerError where none answers."""
    kafka = KafkaSettings(bootstrap=kafka_or_fail(bootstrap))
    wait_for_kafka(kafka, AdminClient(kafka.client()), 0)
    return kafka


def _health(bootstrap: str | None) -> dict[str, dict[str, Any]] | None:
    """None: no Kafka is named, so nobody was asked."""
    if bootstrap is None and bootstrap_servers(None) is None and broker_status() is None:
        return None
    return health_of(_reached(bootstrap))


def _webhook(url: str) -> Webhook:
    secret = os.environ.get("DESCANT_WEBHOOK_SECRET", "")
    if not secret:
        raise AssertionSetupError(
            "a webhook is signed: set DESCANT_WEBHOOK_SECRET to the secret that its server knows."
        )
    return Webhook(url, secret.encode())


@app.command()
def run(
    modules: Modules = None,
    group: Annotated[str, typer.Option(help="Processes of one group share the judging.")] = "default",
    intake: Annotated[bool, typer.Option(help="Read the pipelines; one process of a group does.")] = True,
    bootstrap: Bootstrap = None,
    health_file: HealthFile = None,
    metrics: Metrics = None,
    log_format: Logs = None,
    as_json: AsJson = False,
) -> None:
    """Judge live traffic until Ctrl-C or SIGTERM.

    Examples: descant assertions run examples.factcheck.assertions · descant assertions run mine --no-intake
    """
    try:
        from assertions.processor.runner import Runner  # noqa: PLC0415 needs the extra
    except ModuleNotFoundError as error:
        raise AssertionSetupError(
            f"running assertions needs the package {error.name!r}: pip install 'descant[assertions]'. "
            "It may need an environment of its own (docs/assertions.md)."
        ) from None
    found, plans = load(modules or ())
    kafka = KafkaSettings(bootstrap=kafka_or_fail(bootstrap))
    runner = Runner(kafka, found, group=group, plans=plans, with_intake=intake)
    run_until_stopped(
        runner,
        {"assertions": len(found), "kafka": kafka.bootstrap},
        as_json=as_json,
        health_file=health_file,
        metrics=metrics,
        log_format=log_format,
        service=f"assertions.{group}",
    )


@app.command("list")
def list_(modules: Modules = None, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """The assertions there are, and how those that run are doing."""
    found, _ = load(modules or ())
    health = _health(bootstrap)
    rows = [{**describe(each), "health": (health or {}).get(each.name)} for each in found]
    if as_json:
        print_json(rows)
        return
    if not rows:
        messages.print(
            "no assertions: name the modules that define them, as in `descant assertions list my_assertions`"
        )
        return
    has_owner = any(row["owner"] for row in rows)
    table = Table(Column("assertion", no_wrap=True), "version", Column("watches", overflow="fold"))
    for title in (*(("owner",) if has_owner else ()), "health", "evaluated", "fired", "errors"):
        table.add_column(title, overflow="fold")
    for row in rows:
        state: Any = row["health"] or {}
        table.add_row(
            escape(row["name"]),
            row["version"],
            escape(", ".join(row["on"])),
            *((escape(row["owner"]),) if has_owner else ()),
            state.get("state", "not running" if health is not None else "?"),
            str(state.get("evaluated", "")),
            str(state.get("fired", "")),
            str(sum(state.get("errors", {}).values()) or ""),
        )
    console.print(table)
    if health is None:
        messages.print("health: no Kafka is named and none runs in the background, so nobody was asked", style="dim")


@app.command()
def show(name: str, module: Module = None, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """What one assertion checks, and how it is doing."""
    found, _ = load(module or ())
    chosen = choose(found, name)
    described = describe(chosen)
    health = _health(bootstrap)
    if health is not None:
        described["health"] = health.get(name)
    if as_json:
        print_json(described)
        return
    if health is not None:
        described["health"] = _in_words(health.get(name))
    for field, value in described.items():
        if value not in (None, "", [], False):
            console.print(f"[bold]{field:13}[/] {escape(_shown(value))}", soft_wrap=True)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items() if each is not None)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _in_words(health: Mapping[str, Any] | None) -> str:
    if health is None:
        return "not running"
    counts = ", ".join(f"{health[count]} {count}" for count in ("evaluated", "abstained", "fired", "late"))
    errors = ", ".join(f"{n} {fault}" for fault, n in health["errors"].items()) or "no"
    return f"{health['state']}: {counts}, {errors} errors {health['last_error']}".strip()


@app.command("test")
def judge_again(
    file: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="Observations: JSON lines or Parquet.")
    ] = None,
    module: Module = None,
    name: Annotated[str | None, typer.Option(help="Only this assertion.")] = None,
    topic: Annotated[
        str | None, typer.Option(metavar="PIPELINE.STAGE", help="Instead of a file: what is on this topic, answered.")
    ] = None,
    since: Annotated[str, typer.Option(help="With --topic: beginning, a time or an age (15m, 2h, 30d).")] = "1h",
    labels: Annotated[
        str | None,
        typer.Option(
            metavar=f"FILE|{LABELS}", help="Judge what people said instead: JSON lines, or the topic's labels."
        ),
    ] = None,
    label_field: Annotated[str | None, typer.Option(help="A label is this field of the output, not all of it.")] = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Run assertions over a file or a range of a topic: the flags are those of a live run. Writes nothing to Kafka.

    Examples: descant assertions test observations.jsonl -m mine · descant assertions test --topic factcheck.verdict
    --since 2h -m examples.factcheck.assertions
    """
    found, plans = load(module or ())
    chosen = [choose(found, name)] if name else found
    if not chosen:
        raise AssertionSetupError("there is no assertion to test. Name the modules that define them with --module.")
    observations: Iterable[Observation]
    if file is not None and topic is None:
        observations = read_observations(file)
    elif topic is not None and file is None:
        chosen = [each for each in chosen if topic in map(str, each.on)]
        if not chosen:
            raise AssertionSetupError(f"none of these assertions looks at {topic!r}: name their module with --module.")
        observations = _on_topic(_reached(bootstrap), chosen, plans, parse_since(since))
    else:
        raise AssertionSetupError("name a file of observations, or --topic PIPELINE.STAGE; one of them.")
    if labels is not None:
        observations = labelled(observations, _labels(labels, bootstrap), label_field)
    result = evaluate(chosen, observations)
    if as_json:
        print_json(
            {
                "observations": result.observations,
                "flags": [flag.model_dump(mode="json", exclude_none=True) for flag in result.flags],
                "health": {each: health.to_json() for each, health in result.health.items()},
            }
        )
        return
    for flag in result.flags:
        show_flag(flag)
    of_labels = f" with a label in {labels}" if labels is not None else ""
    messages.print(f"judged {result.observations} observations{escape(of_labels)}", style="dim")
    table = Table(Column("assertion", no_wrap=True))
    for title in ("state", "evaluated", "abstained", "fired", "errors", "last error"):
        table.add_column(title, overflow="fold")
    for each, health in result.health.items():
        table.add_row(
            each,
            health.state.value,
            str(health.evaluated),
            str(health.abstained),
            str(health.fired),
            str(sum(health.errors.values())),
            health.last_error,
        )
    console.print(table)


def _labels(given: str, bootstrap: str | None) -> dict[str, Any]:
    if given == LABELS:
        return labels_on_topic(_reached(bootstrap))
    if not Path(given).exists():
        raise AssertionSetupError(f"--labels {given!r} is no file. Name one, or {LABELS} for the labels on Kafka.")
    return read_labels(Path(given))


def _on_topic(kafka: KafkaSettings, chosen: list[Assertion], plans: list[Plan], since: Since) -> Iterable[Observation]:
    pipeline = chosen[0].pipeline
    plan = next((each for each in plans if each.pipeline == pipeline), None)
    read = observations_of(kafka, pipeline, chosen, plan, since)
    left_out = f"{read.open_requests} requests without an answer, {read.unreadable} records that are not whole"
    messages.print(f"left out: {left_out}", style="dim")
    return read.standing.values()


@app.command()
def history(
    name: str,
    since: Annotated[str, typer.Option(help="beginning, a time or an age (15m, 2h, 30d).")] = "30d",
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Flags of one assertion, by day, version and state."""
    kafka = _reached(bootstrap)
    newest = flags_of(kafka, name, parse_since(since))
    counts = Counter((flag.time[:10], flag.data.assertion.version, flag.state) for flag in newest.values())
    days = sorted({(day, version) for day, version, _ in counts})
    rows = [
        {"day": day, "version": version, **{state.value: counts[day, version, state] for state in FlagState}}
        for day, version in days
    ]
    if as_json:
        print_json({"assertion": name, "days": rows, "health": health_of(kafka).get(name)})
        return
    if rows:
        table = Table("day", "version", *(state.value for state in FlagState))
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        console.print(table)
    else:
        messages.print(f"no flags of {escape(name)!r} since {since}")
    # No flags and not looked are two things.
    messages.print(f"health: {escape(_in_words(health_of(kafka).get(name)))}", style="dim")


def choose(found: list[Assertion], name: str) -> Assertion:
    for each in found:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in found) or "none; name the module that defines it with --module"
    raise AssertionSetupError(f"no assertion is called {name!r}. Known: {known}.")


def describe(assertion: Assertion) -> dict[str, Any]:
    window = assertion.window
    return {
        "name": assertion.name,
        "version": assertion.version,
        "on": [str(target) for target in assertion.on],
        "owner": assertion.owner,
        "tags": sorted(assertion.tags),
        "severity": assertion.severity,
        "window": None if window is None else {"count": window.count, "seconds": window.seconds},
        "limit_seconds": assertion.limit_seconds,
        "early": assertion.is_early,
        "enforce": assertion.enforce,
        "module": assertion.function.__module__,
        "description": assertion.description,
    }


def show_flag(flag: Flag) -> None:
    colour = {FlagState.PROVISIONAL: "yellow", FlagState.STANDING: "red", FlagState.WITHDRAWN: "dim"}[flag.state]
    console.print(
        f"[{colour}]{flag.state.value:11}[/] {flag.severity:8.3g}  [bold]{escape(flag.assertion)}[/]  "
        f"{escape(flag.source)} {escape(flag.subject)}  {escape(flag.data.why or flag.data.assertion.rule)}",
        soft_wrap=True,  # a line a flag, for `grep` and files
    )


def parse_since(text: str) -> Since:
    """now, beginning, an ISO time (UTC when it names no zone), or an age as 90s, 15m, 2h, 30d."""
    if text == "now":
        return "now"
    if text == "beginning":
        return "beginning"
    units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
    if text[:-1].isdecimal() and text[-1] in units:
        return datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * units[text[-1]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise AssertionSetupError(
            f"--since {text!r} is no time. Write now, beginning, 15m, 2h, or 2026-01-31T12:00."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
