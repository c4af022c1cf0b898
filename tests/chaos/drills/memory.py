"""How much memory each process takes while very many requests pass, at an even load or all sent at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streams.runtime.process import roles_of
from tests.chaos.scene import Scene

MANY: Final = "many"

ENGINE: Final[Mapping[str, str]] = {"salt": '"run"', "step_seconds": "0.002", "speed": "10"}
"""Texts of a moment: what is measured is not how long a model takes."""

FIRST_REQUESTS: Final = 1_000
"""Answered before the first sample counts: by then everything that is made once has been made."""

OPEN_MAX: Final = 200
"""Requests that the even load keeps open."""

SAMPLE_SECONDS: Final = 0.5
TOLD_SECONDS: Final = 20.0
SILENCE_SECONDS_MAX: Final = 120.0

GROWTH_MAX: Final = 0.10


@dataclass(slots=True)
class Memory:
    """Resident memory of each process, with the number of answers at that moment."""

    samples: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def take(self, scene: Scene, answered: int) -> None:
        for name, member in scene.fleet.members.items():
            self.samples.setdefault(name, []).append((answered, member.rss_mb))

    def between(self, name: str, low: float, high: float) -> float:
        """Median in MB while so many were answered."""
        found = [mb for answered, mb in self.samples[name] if low <= answered <= high]
        return statistics.median(found) if found else float("nan")

    def growth(self, first: tuple[float, float], last: tuple[float, float]) -> dict[str, dict[str, float]]:
        found = {}
        for name in self.samples:
            early, late = self.between(name, *first), self.between(name, *last)
            peak = max(mb for _, mb in self.samples[name])
            found[name] = {
                "first_mb": round(early, 1),
                "last_mb": round(late, 1),
                "peak_mb": round(peak, 1),
                "growth": round(late / early - 1, 3),
            }
        return found


def crew(scene: Scene) -> None:
    """Every role in a process of its own kind, so that each shows what it holds."""
    stages = [role for role in roles_of(scene.plans[MANY]) if role not in ("ingress", "closer")]
    scene.add_crew("ingress", MANY, ["ingress"])
    scene.add_crew("closer", MANY, ["closer"])
    for number in (1, 2):
        scene.add_crew(f"stages-{number}", MANY, stages)
        scene.add_worker(f"worker-{number}", ENGINE)


def even(scene: Scene, requests: int, say: Callable[[str], None]) -> tuple[dict[str, Any], list[str]]:
    """At most OPEN_MAX requests open, each answered before the next comes."""
    memory, began, sent = Memory(), time.monotonic(), 0
    for answered in _watch(scene, requests, memory, say):
        while sent < requests and sent - answered < OPEN_MAX:
            scene.send(sent)
            sent += 1
    tenth = requests / 10
    first = (min(FIRST_REQUESTS, tenth), min(FIRST_REQUESTS, tenth) + max(tenth / 2, 100))
    return _verdict(scene, memory, requests, began, first, (requests - tenth, requests))


def burst(scene: Scene, requests: int, say: Callable[[str], None]) -> tuple[dict[str, Any], list[str]]:
    """All at once: the pipeline is as full as it gets from the first moment to the last."""
    for number in range(requests):
        scene.send(number)
    memory, began = Memory(), time.monotonic()
    for _ in _watch(scene, requests, memory, say):
        pass
    tenth = requests / 10
    return _verdict(scene, memory, requests, began, (tenth, 2 * tenth), (requests - 2 * tenth, requests - tenth))


def _watch(scene: Scene, requests: int, memory: Memory, say: Callable[[str], None]) -> Any:
    """Yields the number of answers until all are there, or none has come for too long."""
    sampled = told = last = time.monotonic()
    seen = 0
    while seen < requests and time.monotonic() - last < SILENCE_SECONDS_MAX:
        yield seen
        scene.tick(0.01)
        now, answered = time.monotonic(), len(scene.answers.answered)
        if answered > seen:
            seen, last = answered, now
        if now - sampled > SAMPLE_SECONDS:
            memory.take(scene, answered)
            sampled = now
        if now - told > TOLD_SECONDS:
            told = now
            sizes = ", ".join(f"{name} {member.rss_mb:.0f}" for name, member in scene.fleet.members.items())
            say(f"{answered} answered; MB: {sizes}")


def _verdict(
    scene: Scene,
    memory: Memory,
    requests: int,
    began: float,
    first: tuple[float, float],
    last: tuple[float, float],
) -> tuple[dict[str, Any], list[str]]:
    answered, seconds = len(scene.answers.answered), time.monotonic() - began
    found = memory.growth(first, last)
    faults = [f"{requests - answered} of {requests} are not answered"] if answered < requests else []
    faults += [
        f"{name} grew by {100 * of['growth']:.0f} %: {of['first_mb']} to {of['last_mb']} MB"
        for name, of in found.items()
        if not of["growth"] <= GROWTH_MAX
    ]
    result = {
        "requests": requests,
        "answered": answered,
        "seconds": round(seconds, 1),
        "requests_per_second": round(answered / seconds, 1),
        "measured_at": {"first": [round(n) for n in first], "last": [round(n) for n in last]},
        "growth_max": max(of["growth"] for of in found.values()),
        "processes": found,
    }
    return result, faults
