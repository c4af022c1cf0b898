"""The results in docs/benchmarks/headline.md: `python -m benchmarks.headline.page PAGE RESULT.json ...`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.headline.figures import MULTIPLES
from streams.errors import ConfigError

BEGIN: Final = "<!-- results: written by benchmarks.headline.page -->"
END: Final = "<!-- end of results -->"


def write(page: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Replaces what is between the marks. Raises ConfigError where the page has no marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"{page.name} has no marks {BEGIN!r} and {END!r} to write between.", code="config.page")
    text = "\n".join(line for result in results for line in section(result))
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def section(result: Mapping[str, Any]) -> Iterator[str]:
    """One run."""
    what = f"{result['workers']} {result['engine']} engines"
    if result.get("model_size"):
        what += f", Llama of {result['model_size']} with random weights"
    yield f"### {what}"
    yield ""
    slowed = "" if result["speed"] == 1 else f", {result['speed']:g} simulated seconds in a real one"
    yield f"{result['machine']}, {result['cores']}{slowed}; commit {result['commit']}, {result['date']}, seed {result['seed']}."
    if result.get("keep_saturated"):
        yield "**The machine was busy otherwise: these figures are of no worth but to show that it runs.**"
    yield ""
    for variant, verdict in result["variants"].items():
        yield from _variant(variant, verdict, result["engines"])


def _variant(variant: str, verdict: Mapping[str, Any], engines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"**{variant}**: the baseline is idle at {verdict['idle']:.2f} s; throughput at a mean of {verdict['target']:g} s."
    yield ""
    multiples = "".join(f" at {m:g}x idle |" for m in MULTIPLES)
    yield f"| arm | idle, s | throughput ÷ baseline |{multiples} p99: baseline ÷ arm | mean: baseline ÷ arm, by rate |"
    yield "|---|---|---|" + "---|" * len(MULTIPLES) + "---|---|"
    for arm, found in verdict["arms"].items():
        idle = verdict["idle_by_arm"].get(arm)
        cells = [arm, "" if idle is None else f"{idle:.2f}", _ratio(found["throughput"])]
        cells += [_ratio(found["throughput_at_idle_times"][str(m)]) for m in MULTIPLES]
        cells += ["" if found["p99"] is None else f"{found['p99']:.2f}"]
        cells += [", ".join(f"{rate}/s {ratio:.2f}" for rate, ratio in found["mean_by_rate"].items())]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "| arm | requests/s | mean, s | p50 | p90 | p99 | prompt tokens cached | first token, ms | between tokens, ms |"
    yield "|---|---|---|---|---|---|---|---|---|"
    rows = {(row["arm"], row["rate"]): row for row in engines if row["variant"] == variant}
    for arm, curve in verdict["curves"].items():
        for point in curve:
            engine = rows[arm, point["rate"]]
            mark = "" if point["valid"] else " (not counted)"
            yield (
                f"| {arm}{mark} | {point['rate']:g} | {point['mean']:.2f} | {point['p50']:.2f} | {point['p90']:.2f} "
                f"| {point['p99']:.2f} | {engine['cached_share']:.0%} | {engine['first_token_ms']:.0f} "
                f"| {engine['between_tokens_ms']:.1f} |"
            )
    yield ""


def _ratio(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f"{'≥ ' if found['at_least'] else ''}{found['ratio']:.2f}"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) < 2:
        print("usage: python -m benchmarks.headline.page PAGE RESULT.json ...", file=sys.stderr)
        return 2
    write(Path(arguments[0]), [json.loads(Path(path).read_text(encoding="utf-8")) for path in arguments[1:]])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
