"""What `descant demo --learn` tells at its end, for people and as JSON."""

from __future__ import annotations

from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from examples.factcheck.learn import BUDGET, Course

BAR_CELLS: Final = 20


def show_course(console: Console, course: Course) -> None:
    console.print(_curves(course))
    console.print(_firings(course))
    for line in summary_lines(course):
        console.print(line, markup=False, soft_wrap=True)


def summary_lines(course: Course) -> list[str]:
    first, last = course.standings[0], course.standings[-1]
    promoted = sum(s.state == "current" for s in course.standings[1:])
    lines = [
        f"Accuracy on the exam's {first.accuracy.n} claims, which nothing was trained or promoted on: "
        f"{first.accuracy.value:.1%} before the first label, {last.accuracy.value:.1%} after {last.labels}.",
        f"{len(course.standings) - 1} rounds, {promoted} promotions; the labels are an oracle's (the fact tables).",
    ]
    quieter = [name for name, (before, after) in course.fires.items() if after < before]
    lines.append(
        "On the same verdicts, " + ", ".join(
            f"{name} fires on {after:.0%} instead of {before:.0%}" for name, (before, after) in course.fires.items()
        )
        + (f": {len(quieter)} of {len(course.fires)} fire less after the promotions.")
    )  # fmt: skip
    return lines


def _curves(course: Course) -> Table:
    table = Table(title="Accuracy on the exam by labels spent", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("labels", justify="right")
    table.add_column("live", justify="right")
    table.add_column("", width=BAR_CELLS)
    for name in course.curves:
        table.add_column(name, justify="right")
    for number, standing in enumerate(course.standings):
        bar = "█" * round(BAR_CELLS * standing.accuracy.value)
        replayed = (f"{points[number].value:.1%}" for points in course.curves.values())
        table.add_row(str(standing.labels), f"{standing.accuracy.value:.1%}", bar, *replayed)
    table.caption = (
        f"live: over Kafka; the others: the same verdicts replayed, {BUDGET} labels a round, mean of "
        f"{next(iter(course.curves.values()))[0].n} seeds"
    )
    return table


def _firings(course: Course) -> Table:
    table = Table(title="Verdicts that each assertion flags, live", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("assertion")
    for number in range(len(course.flagged)):
        table.add_column(f"round {number + 1}", justify="right")
    for name in course.fires:
        table.add_row(name, *(f"{rates[name]:.0%}" for rates in course.flagged))
    return table


def as_document(course: Course) -> dict[str, Any]:
    """For `--json`. Curves are lists by number of rounds, from none on."""
    first, last = course.standings[0], course.standings[-1]
    return {
        "rounds": len(course.standings) - 1,
        "labels": last.labels,
        "label_source": "oracle",
        "accuracy_before": round(first.accuracy.value, 4),
        "accuracy_after": round(last.accuracy.value, 4),
        "exam_claims": first.accuracy.n,
        "standings": [
            {"labels": s.labels, "version": s.version, "state": s.state, "accuracy": round(s.accuracy.value, 4)}
            for s in course.standings
        ],
        "fires_before": {name: round(before, 4) for name, (before, _) in course.fires.items()},
        "fires_after": {name: round(after, 4) for name, (_, after) in course.fires.items()},
        "fires_by_round": [{name: round(rate, 4) for name, rate in rates.items()} for rates in course.flagged],
        "curves": {name: [round(point.value, 4) for point in points] for name, points in course.curves.items()},
    }
