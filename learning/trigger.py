"""When a model is retrained: enough new labels or flags, a schedule, or a person; never too soon, never in vain."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from learning.errors import TrainingError
from learning.records import TrainingSet


@dataclass(frozen=True)
class TriggerPolicy:
    new_labels: int = 20
    """Labels since the last snapshot that start a job."""
    new_flags: int | None = None
    """Flags of the model that came to stand since then and start one as well, if there is anything new to learn from: a
    label at least, or the flags themselves. None: flags start none."""
    cool_down_seconds: float = 60.0
    """Least time between two starts, so that a burst of labels is one job and a broken trainer does not
    spin."""
    every_seconds: float | None = None
    """Also start after this long, if there is anything new to learn from."""
    classes_min: int = 2
    per_class_min: int = 1


class Due(enum.StrEnum):
    NO = "no"
    LABELS = "labels"
    FLAGS = "flags"
    SCHEDULE = "schedule"
    BY_HAND = "by-hand"


@dataclass(frozen=True)
class Seen:
    labels: int
    """Standing labels now."""
    labels_at_last: int
    """Those in the last snapshot."""
    last_start: float | None
    """Seconds, on the clock of `now`; None where no job ever ran."""
    asked: bool = False
    flags: int = 0
    """Those that came to stand since the last snapshot; a withdrawn one is none."""
    flags_teach: bool = False
    """The recipe learns from what flags propose."""


def due(policy: TriggerPolicy, seen: Seen, now: float) -> Due:
    """Whether a job starts now, and why. Withdrawn labels count as news too: the set has changed."""
    if seen.asked:
        return Due.BY_HAND
    if seen.last_start is not None and now - seen.last_start < policy.cool_down_seconds:
        return Due.NO
    fresh = abs(seen.labels - seen.labels_at_last)
    if fresh >= policy.new_labels:
        return Due.LABELS
    to_learn = bool(fresh or (seen.flags_teach and seen.flags))
    if policy.new_flags is not None and to_learn and seen.flags >= policy.new_flags:
        return Due.FLAGS
    waited = float("inf") if seen.last_start is None else now - seen.last_start
    if policy.every_seconds is not None and to_learn and waited >= policy.every_seconds:
        return Due.SCHEDULE
    return Due.NO


def refuse_unfit(policy: TriggerPolicy, examples: TrainingSet) -> None:
    """Raises TrainingError for a set that must not be trained on: empty, or of too few classes."""
    counts = {c: sum(e.value == c for e in examples.examples) for c in examples.classes}
    enough = [c for c, n in counts.items() if n >= policy.per_class_min]
    if not counts:
        raise TrainingError(
            f"model {examples.model!r} has no labelled example yet. Label some: descant labels next.",
            code="learning.training.empty",
        )
    if len(enough) < policy.classes_min:
        raise TrainingError(
            f"model {examples.model!r} has labels of {', '.join(enough) or 'no class often enough'}; it needs "
            f"{policy.classes_min} classes with {policy.per_class_min} or more. Label others too.",
            code="learning.training.one-class",
        )
