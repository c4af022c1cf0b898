"""How the demo looks: Rich renderables of the view's state. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.factcheck.judge import explained
from examples.factcheck.view import Summary, Watched, pairs

_STYLES: Final = {"supported": "green", "refuted": "red", "unknown": "yellow"}
# Answered requests shrink to one line; so many of them stay on the screen above those under way.
DONE_SHOWN: Final = 8


def seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def request_panel(request: Watched) -> RenderableType:
    """The draft as it grows: a line a claim, coloured by its verdict, then the words that are no claim yet."""
    body = Text()
    for index in sorted(request.lines):
        line = request.lines[index]
        if line.verdict is None:
            body.append(f"… {line.sentence}\n", style="bold")
        else:
            body.append(f"{explained(line.verdict)}\n", style=_STYLES[line.verdict.label])
    if request.unfinished or not request.lines:
        body.append(request.unfinished, style="dim")
        body.append(" ▌", style="dim")
    body.rstrip()
    return Panel(body, title=request.question, title_align="left", subtitle=_times(request), subtitle_align="right")


def request_line(request: Watched) -> Text:
    """An answered request: its question, how many claims of each kind, and when they came."""
    line = Text(f"{_about(request):<14}")
    if request.report is None:
        return line.append(request.error or "no answer", style="red")
    report = request.report
    counts = (("✓", report.supported, "green"), ("✗", report.refuted, "red"), ("?", report.unknown, "yellow"))
    for mark, count, style in counts:
        line.append(f" {mark} {count}", style=style if count else "dim")
    return line.append(f"  {_times(request)}", style="dim")


def running_view(title: str, requests: Sequence[Watched], remaining: int) -> RenderableType:
    """What the live view shows: the last answers, then each request that is under way."""
    done = [r for r in requests if r.is_answered]
    rows: list[RenderableType] = [Text(title, style="bold")]
    if len(done) > DONE_SHOWN:
        rows.append(Text(f"{len(done) - DONE_SHOWN} answered before", style="dim"))
    rows += [request_line(r) for r in done[-DONE_SHOWN:]]
    rows += [request_panel(r) for r in requests if not r.is_answered]
    rows.append(Text(f"{len(done)} answered, {remaining} to go", style="dim"))
    return Group(*rows)


def table(requests: Sequence[Watched]) -> Table:
    """Each question with and without streaming between the stages, side by side; fits 80 columns."""
    found = Table(
        title="Seconds from the question, streaming between stages, and without",
        title_style="bold",
        padding=(0, 1, 0, 0),
        box=box.SIMPLE_HEAD,
    )
    found.add_column("about")
    found.add_column("claims", justify="right")
    for name in ("first\nclaim", "first\nverdict", "draft\nends", "answer\n"):
        found.add_column(name, justify="right", style="green")
    for name in ("without:\nclaim", "\nverdict", "\nanswer"):
        found.add_column(name, justify="right")
    for streamed, held in pairs(requests):
        times = (
            streamed.first_claim_at,
            streamed.first_verdict_at,
            streamed.draft_ended_at,
            streamed.answered_at,
            held.first_claim_at if held else None,
            held.first_verdict_at if held else None,
            held.answered_at if held else None,
        )
        claims = str(len(streamed.report.verdicts)) if streamed.report else "error"
        found.add_row(_about(streamed), claims, *("–" if at is None else f"{at:.2f}" for at in times))
    return found


def summary_lines(summary: Summary) -> list[str]:
    """The figures, as sentences."""
    lines = [
        f"{summary.answered} of {summary.requests} questions answered, {summary.errors} errors.",
        f"In {summary.first_verdict_before_draft_end} of {summary.multi_claim} answers with more than one claim, "
        "the first verdict was there before the draft had ended.",
    ]
    with_, without = summary.median_answer_s, summary.median_answer_s_without_streaming
    if with_ and without:
        difference = f"{abs(without - with_) / without:.0%} {'less' if with_ <= without else 'more'}"
        lines.append(f"Median time to the answer: {with_:.2f} s; without streaming {without:.2f} s ({difference}).")
    first, later = summary.median_first_verdict_s, summary.median_first_verdict_s_without_streaming
    if first and later:
        lines.append(f"Median time to the first verdict: {first:.2f} s; without streaming {later:.2f} s.")
    return lines


def _about(request: Watched) -> str:
    return request.question.removeprefix("Tell me about ").rstrip(".")


def _times(request: Watched) -> str:
    known = (
        ("claim", request.first_claim_at),
        ("verdict", request.first_verdict_at),
        ("answer", request.answered_at),
    )
    return " · ".join(f"{name} {seconds(at)}" for name, at in known if at is not None)
