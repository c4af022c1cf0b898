"""The one protocol of all routing policies, and the errors and answers that go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from streams.errors import ConfigError, StageError
from workers.routing.fleet import Fleet
from workers.routing.prompt import PromptInfo
from workers.routing.sends import Sends


class NoLaneError(StageError):
    """No live worker owns a lane of this model: the prompt waits, and its request ends at its deadline at
    the latest."""

    code = "model.no_lane"

    def __init__(self, model: str, *, silent: int = 0) -> None:
        known = f"{silent} known worker(s) of it are silent or own no lane" if silent else "no worker ever announced it"
        super().__init__(
            f"no live worker serves the model {model!r} ({known}). Start a worker for it; the prompt is "
            "sent as "
            "soon as one announces a lane.",
        )


class UnknownPolicyError(ConfigError):
    """A policy was asked for by a name that nothing registered."""

    code = "config.unknown_policy"


class Chance(Protocol):
    """The randomness a policy may use: `random.Random` and numpy's `Generator` are both one."""

    def random(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Pick:
    """A policy's decision: the slot of a live worker and why, in named terms of the policy's own units."""

    slot: int
    terms: Mapping[str, float]
    reason: str = "rule"
    """The one word that says what decided; `rule` for policies that follow a rule of one term."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where one prompt goes. `Router.sent` takes it back once the record is produced."""

    worker: str
    epoch: int
    lane: int
    uncached: float
    """Prompt tokens that the worker is expected to compute."""
    terms: Mapping[str, float]
    """Why: the policy's terms for the chosen worker, for `descant top` and the trace."""
    reason: str = "rule"
    """What decided, in a word."""


@runtime_checkable
class Policy(Protocol):
    """Picks a worker for one prompt from what the fleet announced and what this router sent.

    Called by one Router on one thread. It must not keep references to what it is given, must pick a slot in
    `fleet.slots()` (never empty here), and must bound whatever it remembers. It has no clock: `now` is
    seconds, never earlier than in the call before. All chance comes from `rng`.
    """

    name: str

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick: ...

    def placed(self, prompt: PromptInfo, slot: int, now: float) -> None:
        """The prompt was sent there: the place for a policy's own memory of prefixes."""

    def forget(self, slot: int) -> None:
        """The worker of this slot is gone, or came back empty; the slot may be given to another."""
