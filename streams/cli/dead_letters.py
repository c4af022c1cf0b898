"""What a pipeline could not use: look at it, and send requests among it again."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streams.cli.options import AsJson, Bootstrap, kafka_or_fail, load_pipeline, messages, print_json
from streams.cli.usage import UsageError
from streams.client.dead_letters import DeadLetter, DeadLetters
from streams.settings import KafkaSettings

SHOWN_BYTES = 2_000

AGE_DIGITS_MAX = 5
"""No topic keeps its records for longer, and dates end."""

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

OfPipeline = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="Its name as in its topics, or MODULE:PIPELINE.", show_default=False)
]
Place = Annotated[str, typer.Argument(metavar="PARTITION-OFFSET", help="As `list` prints it.", show_default=False)]
Reason = Annotated[str | None, typer.Option(help="Only those whose reason begins so, e.g. request.invalid.")]
Since = Annotated[str | None, typer.Option(metavar="AGE", help="Only those younger than this: 90s, 15m, 2h, 1d.")]


@app.command("list")
def list_(
    pipeline: OfPipeline,
    reason: Reason = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """List what could not be used and why, the oldest first; never what it held.

    Examples: descant dead-letters list factcheck · descant dead-letters list factcheck --since 1h --reason request
    """
    # Only what is said of them is kept: what they held may be more than fits into memory.
    found = [_summary(letter) for letter in _matching(_of(pipeline, bootstrap), reason, since)]
    found.sort(key=lambda said: said["at"])
    if as_json:
        print_json({"total": len(found), "dead_letters": found[-limit:]})
        return
    if not found:
        typer.echo("no dead letters")
        return
    columns = ("place", "at", "reason", "stage", "topic", "request_id", "bytes", "message")
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column == "bytes" else "left", overflow="fold")
    for said in found[-limit:]:
        table.add_row(*(escape(str(said[column])) for column in columns))
    Console(highlight=False).print(table)
    counts = Counter(said["reason"] for said in found)
    messages.print(f"{len(found)} in all: " + ", ".join(f"{n} {reason}" for reason, n in counts.most_common()))


@app.command()
def show(
    pipeline: OfPipeline,
    place: Place,
    raw: Annotated[bool, typer.Option("--raw", help="The original bytes alone, unchanged, for a file.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Show one of them with what it held.

    Examples: descant dead-letters show factcheck 0-17 · descant dead-letters show factcheck 0-17 --raw > request.json
    """
    letter = _of(pipeline, bootstrap).one(place)
    value = letter.value or b""
    if raw:
        sys.stdout.buffer.write(value)
        return
    headers = {name: _printable(value.decode(errors="replace")) for name, value in letter.headers}
    if as_json:
        print_json(_summary(letter) | {"headers": headers, "value": value.decode(errors="replace")})
        return
    for name, said in {**_summary(letter), **{f"header {name}": value for name, value in headers.items()}}.items():
        typer.echo(f"{name:<16}{said}")
    typer.echo("")
    typer.echo(_printable(value[:SHOWN_BYTES].decode(errors="replace"), keep="\n\t"))
    if len(value) > SHOWN_BYTES:
        messages.print(f"... {len(value) - SHOWN_BYTES} bytes more; --raw gives all")


@app.command()
def replay(
    pipeline: OfPipeline,
    places: Annotated[
        list[str] | None, typer.Argument(metavar="PARTITION-OFFSET...", help="As `list` prints them.")
    ] = None,
    reason: Reason = None,
    since: Since = None,
    every: Annotated[bool, typer.Option("--all", help="All requests among them that match.")] = False,
    value: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A file with the corrected request, for one of them."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Send requests again, after what was wrong with them, or with the pipeline, has been mended.

    An id is answered once and these have been answered with an error, so each gets a new id, replay-PARTITION-OFFSET;
    replaying it twice is answered once. Records from inside a pipeline cannot be sent again: ask anew.

    Examples: descant dead-letters replay factcheck 0-17 · descant dead-letters replay factcheck 0-17 --value fixed.json
    · descant dead-letters replay factcheck --all --reason request.invalid --since 1h --dry-run
    """
    chosen = places or []
    if bool(chosen) == every:
        raise UsageError("say which: PARTITION-OFFSET as `list` prints it, or --all.")
    if value is not None and len(chosen) != 1:
        raise UsageError("--value corrects one request: name one PARTITION-OFFSET.")
    letters = _of(pipeline, bootstrap)
    found = _requests(letters, reason, since) if every else (letters.one(place) for place in chosen)
    corrected = value.read_bytes() if value is not None else None
    sent = {o.place: o.replay_id if dry_run else letters.replay(o, corrected) for o in found}
    if as_json:
        print_json({"replayed": sent, "dry_run": dry_run})
        return
    for where, request_id in sent.items():
        typer.echo(f"{where}  {'would go' if dry_run else 'sent'} as {request_id}")
    if not sent:
        typer.echo("nothing to send again")


def _of(pipeline: str, bootstrap: str | None) -> DeadLetters:
    name = load_pipeline(pipeline).plan.pipeline if ":" in pipeline else pipeline
    return DeadLetters(name, KafkaSettings(bootstrap=kafka_or_fail(bootstrap)))


def _matching(letters: DeadLetters, reason: str | None, since: str | None) -> Iterator[DeadLetter]:
    found = letters.all(None if since is None else datetime.now(UTC) - _age(since))
    return (letter for letter in found if letter.reason.startswith(reason or ""))


def _requests(letters: DeadLetters, reason: str | None, since: str | None) -> Iterator[DeadLetter]:
    """Those that can be sent again."""
    return (letter for letter in _matching(letters, reason, since) if letters.is_request(letter))


def _age(text: str) -> timedelta:
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or len(number) > AGE_DIGITS_MAX or unit not in UNITS:
        raise UsageError(f"--since takes an age such as 90s, 15m, 2h or 1d, not {text!r}.")
    return timedelta(seconds=int(number) * UNITS[unit])


def _summary(letter: DeadLetter) -> dict[str, Any]:
    return {
        "place": letter.place,
        "at": datetime.fromtimestamp(letter.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "reason": letter.reason,
        "message": letter.message,
        "stage": letter.stage,
        "topic": letter.topic,
        "original_place": f"{letter.original_partition}-{letter.original_offset}",
        "request_id": _printable(letter.request_id),
        "bytes": len(letter.value or b""),
    }


def _printable(text: str, keep: str = "") -> str:
    """Hostile bytes must not steer the reader's terminal."""
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)
