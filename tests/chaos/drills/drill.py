"""One drill under way: an even load, what was done meanwhile, and how long answers took."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from streams.runtime.process import roles_of
from tests.chaos.fleet import Fleet
from tests.chaos.scene import Scene

CALM_SECONDS: Final = 8.0
"""Before the first act, between two, and after the last: what an act does must be over, and be seen to be over."""

RETURN_SECONDS_MAX: Final = 120.0
"""Of a fleet that has to come to itself on a busy machine; how long it took is in the JSON line."""

NAME: Final = "reviewed"
"""The pipeline of all drills with acts."""

STEP_SECONDS: Final = 2.0
"""Between two processes of one act."""


@dataclass(slots=True)
class Drill:
    """One drill under way: acts take place while requests go out at an even pace."""

    scene: Scene
    rate: float
    """Requests a second."""
    say: Callable[[str], None]
    found: dict[str, Any] = field(default_factory=dict)
    """For the JSON line."""
    faults: list[str] = field(default_factory=list)
    calm_from: float = 0.0
    """When the processes had warmed up."""
    acts: list[tuple[float, str]] = field(default_factory=list)
    """(monotonic, what was done)"""
    _sent: int = 0
    _next_at: float = 0.0

    @property
    def fleet(self) -> Fleet:
        return self.scene.fleet

    def act(self, what: str) -> None:
        self.acts.append((time.monotonic(), what))
        self.say(f"{time.monotonic() - self.fleet.began:7.1f} s  {what}; {self._sent} sent, "
                 f"{len(self.scene.answers.answered)} answered")  # fmt: skip

    def warm_up(self, seconds: float = CALM_SECONDS) -> None:
        """Then a calm while, which all that is done is compared with."""
        self.go_on(seconds)
        self.calm_from = time.monotonic()
        self.go_on(seconds)

    def go_on(self, seconds: float) -> None:
        """The load, and nothing else."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            self.turn()

    def turn(self) -> None:
        now = time.monotonic()
        self._next_at = self._next_at or now
        while self._next_at <= now:
            self.scene.send(self._sent)
            self._sent += 1
            self._next_at += 1 / self.rate
        self.scene.tick(0.01)

    def until(self, what: str, is_so: Callable[[], bool], seconds_max: float = RETURN_SECONDS_MAX) -> bool:
        """Under load."""
        ends_at = time.monotonic() + seconds_max
        while not is_so():
            if time.monotonic() > ends_at:
                self.faults.append(f"not so after {seconds_max} s: {what}")
                return False
            self.turn()
        return True

    def all_ready(self) -> bool:
        return self.until("all are ready", lambda: not self.fleet.not_ready())

    # -- acts --------------------------------------------------------------------------------------------------------

    def add(self, name: str) -> None:
        """`instance-N` has a role of every stage, `worker-N` a model."""
        self.act(f"{name} is added")
        if name.startswith("worker"):
            self.scene.add_worker(name)
        else:
            self.scene.add_crew(name, NAME, roles_of(self.scene.plans[NAME]))
        self.all_ready()
        self.go_on(STEP_SECONDS)

    def retire(self, name: str) -> None:
        """In order, for good."""
        self.act(f"{name} is told to end")
        self.fleet.stop(name, None)
        self.until(f"{name} has ended", lambda: not self.fleet.members[name].is_up)
        self.go_on(STEP_SECONDS)

    def renew(self, name: str, **environment: str) -> None:
        """In order, and started again at once, with another environment."""
        member = self.fleet.members[name]
        member.environment.update(environment)
        self.act(f"{name} is restarted")
        life = member.lives
        self.fleet.stop(name, 0.0)
        self.until(f"{name} has a new life", lambda: member.lives > life)
        self.all_ready()
        self.go_on(STEP_SECONDS)

    # -- what can be seen ----------------------------------------------------------------------------------------------

    def answers_flow(self) -> bool:
        """What was sent since now is answered."""
        mark = time.monotonic()
        sent, answered = self.scene.sent_at, self.scene.answers.answered
        return self.until(
            "new requests are answered",
            lambda: any(place in answered for place, at in sent.items() if mark < at < time.monotonic() - 0.5),
        )


def pauses(drill: Drill) -> dict[str, Any]:
    """How much longer answers took while something was done than in the calm before: a request is held up by as much.

    Quantile against quantile, since texts are of very different lengths.
    """
    first = drill.acts[0][0] if drill.acts else time.monotonic()
    seen, sent = drill.scene.answers.answered, drill.scene.sent_at
    calm = [seen[p] - at for p, at in sent.items() if p in seen and at >= drill.calm_from and seen[p] < first]
    rest = [seen[p] - at for p, at in sent.items() if p in seen and seen[p] >= first]
    if not calm or len(rest) < 2:
        return {"calm_seconds_p99": None, "pause_seconds_p99": None, "pause_seconds_max": None}
    usual = quantile(calm, 0.99)
    return {
        "calm_seconds_p50": round(statistics.median(calm), 3),
        "calm_seconds_p99": round(usual, 3),
        "answer_seconds_p50": round(statistics.median(rest), 3),
        "answer_seconds_p99": round(quantile(rest, 0.99), 3),
        "pause_seconds_p99": round(max(0.0, quantile(rest, 0.99) - usual), 3),
        "pause_seconds_max": round(max(0.0, max(rest) - usual), 3),
        "silence_seconds_max": round(max(silences(drill)), 3),
    }


def silences(drill: Drill) -> Iterator[float]:
    """Seconds without any answer."""
    times = sorted(drill.scene.answers.answered.values())
    yield from (later - earlier for earlier, later in itertools.pairwise(times))


def quantile(values: Sequence[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]
