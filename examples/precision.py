"""The table that each of these examples ends with: how often an assertion was right."""

from __future__ import annotations

import ast
import inspect
import json
import math
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType


def interval(right: int, judged: int) -> tuple[float, float]:
    """Wilson, 95 %; all of it when nothing was judged."""
    if not judged:
        return 0.0, 1.0
    z, share = 1.96, right / judged
    middle = (share + z * z / (2 * judged)) / (1 + z * z / judged)
    half = z * math.sqrt(share * (1 - share) / judged + z * z / (4 * judged * judged)) / (1 + z * z / judged)
    return max(0.0, middle - half), min(1.0, middle + half)


def report(title: str, judged: Mapping[str, Sequence[bool]], lines: Mapping[str, int]) -> None:
    """Print the table, and as the last line one JSON object; `--json` leaves the table out."""
    rows = []
    for name, verdicts in judged.items():
        right = sum(verdicts)
        low, high = interval(right, len(verdicts))
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
            decorated = node.decorator_list[0].lineno if isinstance(node, ast.FunctionDef) else node.lineno
            return (node.end_lineno or node.lineno) - decorated + 1
    raise KeyError(name)
