"""The terminal view of a snapshot. Pure."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from console.state.fleet import WorkerRow
from console.top.snapshot import AssertionRow, LaneRow, ModelRow, PipelineRow, Snapshot, StageRow

WORKER_STATES = {"serving": "green", "idle": "dim", "leaving": "yellow", "silent": "red"}
HEALTH_STATES = {"healthy": "green", "untried": "dim", "silent": "yellow", "failing": "yellow", "broken": "bold red"}

NOTHING = (
    "Nothing of Descant is on this Kafka: no pipeline has made its topics, and no worker serves a model.\n"
    "Start one with `descant run MODULE:PIPELINE`, or all of a demonstration with `descant demo`."
)


def screen(snapshot: Snapshot) -> RenderableType:
    """Everything, one table after another; parts that nobody runs are left out."""
    head = Text.from_markup(f"[bold]descant top[/]  {escape(snapshot.bootstrap)}  [dim]{snapshot.at}[/]")
    if snapshot.is_empty:
        return Group(head, Text(), Text(NOTHING))
    parts: list[RenderableType] = [head]
    for pipeline in snapshot.pipelines:
        parts += [Text(), _headline(pipeline), _stages(pipeline.stages)]
    for model in snapshot.models:
        workers = [worker for worker in snapshot.workers if worker.model == model.model]
        parts += [Text(), _model_line(model, workers)]
        if workers:
            parts.append(_workers(workers))
        parts.append(_lanes(model.lanes))
    if snapshot.assertions:
        parts += [Text(), Text.from_markup("[bold]assertions[/]"), _assertions(snapshot.assertions)]
    return Group(*parts)


def _headline(row: PipelineRow) -> Text:
    line = f"[bold]{escape(row.name)}[/]  {row.open} open"
    if row.oldest_seconds is not None:
        line += f", oldest {seconds(row.oldest_seconds)} [dim]({escape(_short(row.oldest_request or ''))})[/]"
    line += f", {row.waiting} waiting" if row.waiting else ""
    line += f"  ·  {row.accepted_per_second:g}/s in, {row.closed_per_second:g}/s answered"
    if all(not stage.members for stage in row.stages):
        line += "  [red]nobody runs it[/]"
    return Text.from_markup(line)


def _table(*columns: str) -> Table:
    """Columns that begin with `>` are numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="dim")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
    return table


def _stages(rows: tuple[StageRow, ...]) -> Table:
    table = _table("stage", ">members", ">partitions", ">lag", ">oldest", "request", ">in/s", ">out/s")
    for row in rows:
        unowned = f" [red]({row.unowned} unowned)[/]" if row.unowned else ""
        table.add_row(
            escape(row.name),
            str(row.members) if row.members else "[red]0[/]",
            f"{row.partitions}{unowned}",
            str(row.lag),
            "" if row.oldest_seconds is None else seconds(row.oldest_seconds),
            escape(_short(row.oldest_request or "")),
            f"{row.read_per_second:g}",
            f"{row.written_per_second:g}",
        )
    return table


def _model_line(model: ModelRow, workers: list[WorkerRow]) -> Text:
    free = sum(lane.worker is None for lane in model.lanes)
    line = f"[bold]{escape(model.model)}[/]  {len(model.lanes)} lanes, {len(workers)} worker{'s' * (len(workers) != 1)}"
    if not workers:
        line += "  [red]nobody serves it: `descant worker`[/]"
    elif free:
        line += f"  [red]{free} lanes have no owner[/]"
    return Text.from_markup(line)


def _workers(rows: list[WorkerRow]) -> Table:
    table = _table(
        "worker",
        "state",
        ">lanes",
        ">running",
        ">waiting",
        ">queue tokens",
        ">KV used",
        ">prefix hits",
        ">prefill tok/s",
    )
    for row in rows:
        used = None if not row.kv_blocks else 1 - row.kv_blocks_free / row.kv_blocks
        table.add_row(
            escape(row.worker),
            f"[{WORKER_STATES[row.state]}]{row.state}[/]",
            str(len(row.lanes)),
            str(row.running),
            str(row.waiting),
            f"{row.pending_tokens:.0f}",
            share(used),
            share(row.prefix_hits),
            f"{row.tokens_per_second:.0f}",
        )
    return table


def _lanes(rows: tuple[LaneRow, ...]) -> Table:
    table = _table("lane", "owner", ">prompts behind", "last routed by")
    for row in rows:
        table.add_row(str(row.lane), escape(row.worker or "—"), str(row.lag), escape(row.last_route or ""))
    return table


def _assertions(rows: tuple[AssertionRow, ...]) -> Table:
    table = _table("assertion", "health", ">evaluated", ">abstained", ">fired", ">errors", ">p99", "last error")
    for row in rows:
        p99 = "" if row.seconds_p99 is None else f"{row.seconds_p99 * 1000:.2g} ms"
        table.add_row(
            escape(row.name),
            f"[{HEALTH_STATES.get(row.state, '')}]{escape(row.state)}[/]"
            if row.state in HEALTH_STATES
            else escape(row.state),
            str(row.evaluated),
            str(row.abstained),
            str(row.fired),
            str(row.errors or ""),
            p99,
            escape(row.last_error[:60]),
        )
    return table


def seconds(value: float) -> str:
    """3.2 s, 4 min, 2 h."""
    if value < 60:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 3_600 else f"{value / 3_600:.0f} h"


def share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"
