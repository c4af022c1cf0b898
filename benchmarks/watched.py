"""Twenty assertions for benchmarks.alerts: plain, windowed by key, per request, and consistency."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from assertions import Window, assertion, consistency
from benchmarks.processes import PIPELINE_VARIABLE

PIPELINE = os.environ.get(PIPELINE_VARIABLE, "bench")
ON = f"{PIPELINE}.verdict"
WORDS = ("sorry", "unable", "cannot", "unknown", "maybe", "perhaps", "likely", "approximately", "TODO", "lorem", "n/a")

Item = dict[str, Any]


def marked(item: Item) -> float:
    """The one that fires, on every tenth item."""
    return float(item["mark"])


def _mentions(word: str) -> Callable[[Item], bool]:
    return lambda item: word in item["text"]


PLAIN: dict[str, Callable[[Item], Any]] = {
    "marked": marked,
    **{f"mentions_{word.replace('/', '')}": _mentions(word) for word in WORDS},
    "empty": lambda item: not item["text"],
    "too_long": lambda item: max(0, len(item["text"]) - 2_000),
}


def same_text(item: Item, recent: Sequence[Item]) -> bool:
    return any(earlier["text"] == item["text"] for earlier in recent)


def jumps(item: Item, recent: Sequence[Item]) -> float:
    return max(0.0, abs(item["value"] - sum(e["value"] for e in recent) / len(recent)) - 10) if recent else 0.0


def drifts(item: Item, recent: Sequence[Item]) -> bool:
    return len(recent) == 20 and all(e["value"] > item["value"] for e in recent)


def doubts(item: Item, recent: Sequence[Item]) -> bool:
    return len(recent) > 5 and sum(e["mark"] for e in recent) > 15


WINDOWED: dict[str, Callable[[Item, Sequence[Item]], Any]] = {
    "same_text": same_text,
    "jumps": jumps,
    "drifts": drifts,
    "doubts": doubts,
}

for name, function in PLAIN.items():
    assertion(on=ON, name=name)(function)


def _with_window(check: Callable[[Item, Sequence[Item]], Any]) -> Callable[[Item, Window[Item]], Any]:
    def judge(item: Item, recent: Window[Item]) -> Any:
        return check(item, recent)

    return judge


for name, windowed in WINDOWED.items():
    assertion(on=ON, name=name, window=20, per=lambda item: item["entity"])(_with_window(windowed))
consistency(on=ON, name="capital", id=lambda i: i["entity"], attrs=lambda i: {"capital": i["capital"]}, within=30.0)
consistency(on=ON, name="continent", id=lambda i: i["entity"], attrs=lambda i: {"is": i["continent"]}, within=30.0)


def item(n: int) -> Item:
    entity = n % 200
    return {
        "entity": f"country-{entity}",
        "capital": f"city-{entity}",
        "continent": entity % 6,
        "value": n % 7,
        "text": f"Claim {n}: the capital of country {entity} is city {entity}, as the table of countries says.",
        "mark": 1 if n % 10 == 0 else 0,
    }
