"""The gate between a trained candidate and the traffic: pure, so that its verdict can be replayed from its
inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from learning.errors import LeakageError
from learning.intervals import paired_gain, wilson
from learning.records import GateResult, Interval, TrainingExample, Verdict


@dataclass(frozen=True)
class GatePolicy:
    least_gain: float = 0.0
    """Promote where the gain's whole interval is above this."""
    tolerated_loss: float = 0.02
    """Hold where the gain itself is below minus this, even if chance could explain it."""
    tolerated_recall_loss: float = 0.10
    """Hold where a class loses more recall than this and both intervals are apart."""
    tolerated_firing_rise: float = 0.05
    """Hold where an assertion fires on this much more of the replayed examples."""
    firing_fall: float = 0.02
    """A fall of an assertion by this share of the replay promotes a candidate whose accuracy is level."""
    held_out_min: int = 30
    """Fewer held-out examples: ask."""
    latency_ms_max: float | None = None


@dataclass(frozen=True)
class Answers:
    """What one version says of the held-out examples and of replayed traffic."""

    predicted: Sequence[str]
    firings: Mapping[str, float] = field(default_factory=dict)
    """By assertion: the share of replayed examples on which it fires."""
    latency_ms: float | None = None


def refuse_leakage(trained_on: Sequence[TrainingExample], held_out: Sequence[TrainingExample]) -> None:
    """Raises LeakageError where an example, a request or an entity is on both sides."""
    for what in ("id", "request", "entity"):
        ours = {getattr(e, what) for e in trained_on} - {None}
        shared = ours & {getattr(e, what) for e in held_out}
        if shared:
            raise LeakageError(
                f"{len(shared)} {what}(s) are in the training set and in the held-out set. Hold out whole requests and "
                "entities; a gate that has seen its answers says nothing."
            )


def judge(
    policy: GatePolicy, truth: Sequence[str], candidate: Answers, current: Answers | None, rng: np.random.Generator
) -> GateResult:
    """Promote, hold, or ask. Hold wins over ask, ask over promote; every reason is named."""
    right = np.array([p == t for p, t in zip(candidate.predicted, truth, strict=True)], bool)
    accuracy = wilson(int(right.sum()), len(right))
    recall = recalls(truth, candidate.predicted)
    hold, ask, promote = [], [], []
    gain: Interval | None = None
    firings: dict[str, tuple[float, float]] = {}
    if len(truth) < policy.held_out_min:
        ask.append(f"only {len(truth)} held-out examples, {policy.held_out_min} are wanted")
    if policy.latency_ms_max is not None and (candidate.latency_ms or 0) > policy.latency_ms_max:
        hold.append(f"one example takes {candidate.latency_ms:.1f} ms, {policy.latency_ms_max:.1f} are allowed")
    if current is None:
        commonest = max(Counter(truth).values(), default=0)
        if accuracy.n and accuracy.low > commonest / accuracy.n:
            promote.append("the first version, and surely better than the commonest class")
        else:
            ask.append("the first version, and not surely better than always saying the commonest class")
    else:
        before = np.array([p == t for p, t in zip(current.predicted, truth, strict=True)], bool)
        gain = paired_gain(before, right, rng)
        hold += _losses(policy, gain, recalls(truth, current.predicted), recall)
        firings = {name: (rate, candidate.firings.get(name, 0.0)) for name, rate in sorted(current.firings.items())} | {
            name: (0.0, rate) for name, rate in candidate.firings.items() if name not in current.firings
        }
        hold += [
            f"assertion {name!r} fires on {now:.1%} instead of {was:.1%}"
            for name, (was, now) in firings.items()
            if now - was > policy.tolerated_firing_rise
        ]
        quieter = [name for name, (was, now) in firings.items() if was - now >= policy.firing_fall]
        if gain.low > policy.least_gain:
            promote.append(f"accuracy {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
        elif gain.value >= 0 and quieter:
            promote.append(f"accuracy is level and {', '.join(quieter)} fire less")
        else:
            ask.append(f"the gain {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] may be chance")
    verdict, reasons = next(
        (v, r) for v, r in ((Verdict.HOLD, hold), (Verdict.ASK, ask), (Verdict.PROMOTE, promote)) if r
    )
    return GateResult(
        verdict=verdict, reasons=tuple(reasons), accuracy=accuracy, gain=gain, recall=recall, firings=firings,
        latency_ms=candidate.latency_ms,
    )  # fmt: skip


def recalls(truth: Sequence[str], predicted: Sequence[str]) -> dict[str, Interval]:
    """By class, the share of its examples that were found; Wilson."""
    pairs = list(zip(truth, predicted, strict=True))
    return {c: wilson(sum(t == p == c for t, p in pairs), sum(t == c for t, _ in pairs)) for c in sorted(set(truth))}


def _losses(
    policy: GatePolicy, gain: Interval, before: Mapping[str, Interval], now: Mapping[str, Interval]
) -> list[str]:
    losses = []
    if gain.value < -policy.tolerated_loss or gain.high < 0:
        losses.append(f"accuracy {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
    for name, was in before.items():
        if was.value - now[name].value > policy.tolerated_recall_loss and now[name].high < was.low:
            losses.append(f"recall of {name!r} falls from {was.value:.2f} to {now[name].value:.2f}")
    return losses
