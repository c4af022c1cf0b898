"""What goes wrong and when, drawn from a seed before anything starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

SESSION_SECONDS: Final = 6.0
"""A process that is silent for longer is replaced, and wakes up as a zombie."""

FIRST_SECONDS: Final = 3.0

REST_SECONDS: Final = {"": 15.0}
"""Between the end of a broker's fault and its next one: the fleet has to come to itself first, or nothing is tested but
waiting. Two seconds for a process, which has to come up."""

WEIGHTS: Final = {"kill": 10, "pause": 3, "stop": 3, "broker-restart": 1, "broker-pause": 1}
"""How often each is drawn. `--broker-kills` makes SIGKILL of the SIGTERM that a broker is given for a restart: one that
is killed may leave groups and transactions that Kafka 4.4 itself never recovers (docs/guarantees.md)."""

NETWORK_WEIGHTS: Final = {"network-delay": 2, "network-cut": 2}
"""Drawn as well where there is a relay between the processes and the broker."""


@dataclass(frozen=True, slots=True)
class Fault:
    at: float
    """Seconds after the first request."""
    what: str
    """kill: SIGKILL · pause: SIGSTOP, later SIGCONT · stop: SIGTERM · broker-restart · broker-kill · broker-pause ·
    network-delay: each way takes longer · network-cut: all connections are reset, and refused for a while"""
    target: str
    """The process; empty for the broker and the network."""
    lasts: float
    """Until it is started again, or goes on."""

    def __str__(self) -> str:
        return f"{self.at:7.2f} s  {self.what} {self.target} for {self.lasts:.2f} s"


def draw(
    seed: int,
    targets: Sequence[str],
    seconds: float,
    every: float,
    *,
    at_least: Mapping[str, int] | None = None,
    broker_kills: bool = False,
    network: bool = False,
) -> list[Fault]:
    """Faults for `seconds`, `every` so many of them on average; one process has only one at a time.

    at_least   kind -> how many of it there must be, whatever else is drawn
    """
    rng = Random(seed)  # noqa: S311 — reproducible is the point
    owed = Counter(at_least or {})
    kinds = list(owed.elements())
    weights = WEIGHTS | (NETWORK_WEIGHTS if network else {})
    more = max(0, round((seconds - FIRST_SECONDS) / every) - len(kinds))
    kinds += rng.choices(list(weights), list(weights.values()), k=more)
    rng.shuffle(kinds)
    times = sorted(rng.uniform(FIRST_SECONDS, seconds) for _ in kinds)
    free_at = dict.fromkeys(("", *targets), 0.0)
    faults = []
    for at, kind in zip(times, kinds, strict=True):
        fault = _place(rng, kind, at, targets, free_at)
        if fault.at > seconds and owed[kind] <= 0:
            continue  # it had to wait too long for the ones before it
        owed[kind] -= 1
        faults.append(replace(fault, what="broker-kill") if kind == "broker-restart" and broker_kills else fault)
    return sorted(faults, key=lambda fault: fault.at)


def _place(rng: Random, kind: str, at: float, targets: Sequence[str], free_at: dict[str, float]) -> Fault:
    """On a process that has nothing else, or as soon as one has."""
    of_processes = kind in ("kill", "pause", "stop")
    candidates = list(targets) if of_processes else [""]
    free = [name for name in candidates if free_at[name] <= at]
    target = rng.choice(free) if free else min(candidates, key=lambda name: free_at[name])
    at = max(at, free_at[target])
    lasts = _lasts(rng, kind)
    free_at[target] = at + lasts + REST_SECONDS.get(target, 2.0)
    return Fault(at, kind, target, lasts)


def _lasts(rng: Random, kind: str) -> float:
    match kind:
        case "pause":
            return SESSION_SECONDS + rng.uniform(1, 4)
        case "broker-pause":
            return rng.uniform(1, 8)
        case "broker-restart":
            return rng.uniform(0.5, 5)
        case "network-delay":
            return rng.uniform(3, 10)
        case "network-cut":
            return rng.uniform(0, 4)
        case _:
            return rng.choice((0.0, rng.uniform(0, 3), SESSION_SECONDS + rng.uniform(1, 3)))
