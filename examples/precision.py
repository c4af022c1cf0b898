"""The table that each of these examples ends with: how often an assertion was right."""

from __future__ import annotations

import ast
import inspect
import json
import math
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType


def interval(right: float, judged: float) -> tuple[float, float]:
    """Wilson, 95 %; all of it when nothing was judged."""
    if not judged:
        return 0.0, 1.0
    z, share = 1.96, right / judged
    middle = (share + z * z / (2 * judged)) / (1 + z * z / judged)
    half = z * math.sqrt(share * (1 - share) / judged + z * z / (4 * judged * judged)) / (1 + z * z / judged)
    return max(0.0, middle - half), min(1.0, middle + half)


def clustered(runs: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """As `interval`, of verdicts that come in runs and resemble each other within one: as if there were fewer of them,
    by the design effect (Kish, 1965: the variance of the share between runs, over that of as many independent flags).
    Never narrower than for independent ones; the same for a single run, and where all verdicts agree."""
    known = [run for run in runs if run]
    judged, right = sum(map(len, known)), sum(map(sum, known))
    if len(known) < 2 or right in (0, judged):
        return interval(right, judged)
    share = right / judged
    between = sum((sum(run) - share * len(run)) ** 2 for run in known) * len(known) / (len(known) - 1) / judged**2
    effect = max(1.0, between / (share * (1 - share) / judged))
    return interval(right / effect, judged / effect)


def report(title: str, judged: Mapping[str, Sequence[Sequence[bool]]], lines: Mapping[str, int]) -> None:
    """Print the table, and as the last line one JSON object; `--json` leaves the table out.

    judged   assertion → runs of the same thing → whether each flag was right
    """
    rows = []
    for name, runs in judged.items():
        verdicts = [verdict for run in runs for verdict in run]
        right = sum(verdicts)
        low, high = clustered(runs)
        share = right / len(verdicts) if verdicts else None
        rows.append((name, len(verdicts), right, share, low, high, lines[name]))
    if "--json" not in sys.argv:
        print(f"{title}\n\n{'assertion':28}{'flags':>7}{'right':>7}{'precision':>11}{'95 %':>14}{'lines':>7}")
        for name, flags, right, share, low, high, code in rows:
            precision, bounds = ("none", "") if share is None else (f"{share:.0%}", f"{low:.0%} to {high:.0%}")
            print(f"{name:28}{flags:7}{right:7}{precision:>11}{bounds:>14}{code:7}")
    names = ("assertion", "flags", "right", "precision", "low", "high", "lines")
    print(json.dumps({"precision": [dict(zip(names, row, strict=True)) for row in rows]}))


def statements(module: ModuleType, name: str) -> int:
    """Lines of the function or assignment of this name in a module: what its assertion cost to write."""
    for node in ast.parse(inspect.getsource(module)).body:
        targets = [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []
        if name in targets or (isinstance(node, ast.FunctionDef) and node.name == name):
            decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
            first = min([node.lineno, *(each.lineno for each in decorators)])
            return (node.end_lineno or node.lineno) - first + 1
    raise KeyError(name)
