"""Writes docs/benchmarks.md from benchmarks/results: `python -m benchmarks.page`. Nothing on that page is typed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, Final

from benchmarks.results import FOLDER

PAGE: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"

HEAD: Final = """# Benchmarks

Written by `python -m benchmarks.page` from `benchmarks/results/`, where each benchmark keeps its last line with
`--save`. Run one with `make bench NAME=hop`; `make bench-check NAME=hop` runs it again and says whether its ratios
have become worse than the noise of the kept runs. What a figure means is said at the top of the benchmark's module.
"""


def main() -> None:
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE.name}")


def text() -> str:
    kept = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(FOLDER.glob("*.json"))]
    return "\n".join([HEAD, *(section(result) for result in kept)])


def section(result: dict[str, Any]) -> str:
    name = result["benchmark"]
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    where = [result["machine"], result["gpu"], versions, f"load {result['load_average']}"]
    taken = f"{result['date']}, commit {result['commit'] or 'unknown'}; " + "; ".join(w for w in where if w)
    lines = [f"## {name}", "", summary(name), "", f"`{result['command']}` · {taken}", ""]
    return "\n".join([*lines, *tables(result["figures"]), ""])


def summary(name: str) -> str:
    """The first line of the benchmark's own docstring."""
    spec = importlib.util.find_spec(f"benchmarks.{name}.__main__" if _is_folder(name) else f"benchmarks.{name}")
    if spec is None or spec.origin is None:
        return ""
    return Path(spec.origin).read_text(encoding="utf-8").partition('"""')[2].partition("\n")[0].removesuffix('"""')


def _is_folder(name: str) -> bool:
    return (Path(__file__).parent / name).is_dir()


def tables(figures: dict[str, Any]) -> list[str]:
    """Plain figures as one table; objects as one row each, those of equal fields together."""
    plain = {k: v for k, v in figures.items() if not isinstance(v, dict)}
    lines = table(("figure", "value"), [(k, show(v)) for k, v in plain.items()]) if plain else []
    groups: dict[tuple[str, ...], list[tuple[str, dict[str, Any]]]] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            if any(isinstance(v, dict) for v in value.values()):
                lines += [f"**{name}**", "", *tables(value)]
            else:
                groups.setdefault(tuple(value), []).append((name, value))
    for fields, rows in groups.items():
        lines += table(("", *fields), [(name, *(show(value[f]) for f in fields)) for name, value in rows])
    return lines


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(r) + " |" for r in rows),
        "",
    ]


def show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    main()
