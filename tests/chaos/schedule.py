"""What goes wrong and when, drawn from a seed before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

SESSION_SECONDS: Final = 6.0
"""A process that is silent for longer is replaced, and wakes up as a zombie."""

FIRST_SECONDS: Final = 3.0

WEIGHTS: Final = {"kill": 10, "pause": 3, "stop": 3, "broker-restart": 1, "broker-pause": 1}
"""How often each is drawn. `--broker-kills` makes SIGKILL of the SIGTERM that a broker is given for a restart: one that
is killed may leave groups and transactions that Kafka 4.4 itself never recovers (docs/guarantees.md)."""


@dataclass(frozen=True, slots=True)
class Fault:
    at: float
    """Seconds after the first request."""
    what: str
    """kill: SIGKILL · pause: SIGSTOP, later SIGCONT · stop: SIGTERM · broker-restart · broker-kill · broker-pause"""
    target: str
    """The process; empty for the broker."""
    lasts: float
    """Until it is started again, or goes on."""

    def __str__(self) -> str:
        return f"{self.at:7.2f} s  {self.what} {self.target} for {self.lasts:.2f} s"


def draw(seed: int, targets: Sequence[str], seconds: float, every: float, *, broker_kills: bool = False) -> list[Fault]:
    """Faults for `seconds`, `every` so many of them on average; one process has only one at a time."""
    rng = Random(seed)  # noqa: S311 — reproducible is the point
    drawn = _draw(rng, targets, seconds, every)
    if not broker_kills:
        return list(drawn)
    return [replace(f, what="broker-kill") if f.what == "broker-restart" else f for f in drawn]


def _draw(rng: Random, targets: Sequence[str], seconds: float, every: float) -> Iterator[Fault]:
    busy_until: dict[str, float] = {}
    at = FIRST_SECONDS
    while at < seconds:
        what = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        target = "" if what.startswith("broker") else rng.choice(targets)
        match what:
            case "pause":
                lasts = SESSION_SECONDS + rng.uniform(1, 4)
            case "broker-pause":
                lasts = rng.uniform(1, 8)
            case "broker-restart":
                lasts = rng.uniform(0.5, 5)
            case _:
                lasts = rng.choice((0.0, rng.uniform(0, 3), SESSION_SECONDS + rng.uniform(1, 3)))
        if busy_until.get(target, 0.0) <= at:
            busy_until[target] = at + lasts + 2.0  # it has to come up again first
            yield Fault(at, what, target, lasts)
        at += rng.expovariate(1 / every)
