"""What an assertion may answer, and what is refused."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic_core import PydanticSerializationError, to_jsonable_python

from assertions.core.observation import canonical
from assertions.errors import SeverityRefusedError


class Abstain(enum.Enum):
    """Returned by an assertion that cannot judge this example: `return Abstain.HERE`, or just `Abstain`.

    Not the same as 0: 0 says "I looked and nothing is wrong"; an abstention is counted by itself.
    """

    HERE = "abstain"


@dataclass(frozen=True, slots=True)
class Correction:
    """What the assertion proposes in place of what it flagged."""

    kind: Literal["modify", "remove", "add"]
    targets: tuple[str, ...] = ()
    """Ids of the observations to change or remove; empty: the flagged one."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """modify: attribute → proposed value."""
    additions: tuple[Any, ...] = ()
    """add: the proposed outputs, made by the user's weak_label."""

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "targets": list(self.targets),
            "changes": dict(self.changes),
            "additions": list(self.additions),
        }


@dataclass(frozen=True, slots=True)
class Severity:
    """A severity with its reason, for assertions that can say more than a number."""

    value: float
    why: str = ""
    """One sentence for the person who sees the alert, and the hint of a retry."""
    correction: Correction | None = None
    instead: Any = None
    """For enforce="replace": the output that stands in place of the flagged one."""


WHY_CHARACTERS_MAX: Final = 2_000
"""Of a reason. A flag is one record of Kafka; what is longer is part of the example already."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one observation."""

    rule: str
    """Tells findings of one assertion on one observation apart; "" when it can have only one."""
    severity: float
    why: str = ""
    correction: Correction | None = None
    instead: Any = None
    """JSON of the replacement."""
    references: tuple[str, ...] = ()
    """Ids of the other observations that it rests on."""


class Fault(enum.StrEnum):
    RAISED = "raised"
    TIMED_OUT = "timed_out"
    REFUSED = "refused"  # it returned something that is no severity


@dataclass(slots=True)  # not frozen: one is made for each call, and freezing doubles what that costs
class Judged:
    """The assertion looked. No findings: nothing is wrong."""

    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Abstained:
    """The assertion could not judge this example, and said so."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Broken:
    """The assertion failed. Nothing is known about the example."""

    fault: Fault
    reason: str
    """Exception class or refused type; never the example."""
    seconds: float = 0.0


class BrokenError(Exception):
    """Raised in place of what a user's function did, where its value was asked for."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(broken.reason)
        self.broken = broken


Outcome = Judged | Abstained | Broken

# Severities order flags and are summed by selectors; beyond this a sum over a day of flags loses integer precision.
SEVERITY_MAX: Final = 1e9


def judged(returned: Any, seconds: float = 0.0) -> Outcome:
    """The outcome that a returned value stands for.

    bool       True is severity 1, False is 0
    number     finite, 0 to SEVERITY_MAX; 0: nothing wrong
    Severity   a number with a reason and perhaps a correction
    Abstain    could not judge
    Raises     SeverityRefusedError for NaN, infinity, a negative number, None and every other type
    """
    if returned is False or (type(returned) in (int, float) and returned == 0):
        return Judged((), seconds)  # what nearly every call returns
    if returned is Abstain or returned is Abstain.HERE:
        return Abstained(seconds)
    detail = returned if isinstance(returned, Severity) else Severity(_number(returned))
    value = _number(detail.value)
    if value == 0:
        return Judged((), seconds)
    if detail.correction is not None and not _is_json(detail.correction):
        raise SeverityRefusedError("returned a Correction that JSON cannot hold: give plain values in it.")
    try:
        instead = to_jsonable_python(detail.instead)
    except PydanticSerializationError:
        raise SeverityRefusedError("returned an `instead` that JSON cannot hold.") from None
    return Judged((Finding("", value, _shortened(str(detail.why)), detail.correction, instead),), seconds)


def _shortened(why: str) -> str:
    if len(why) > WHY_CHARACTERS_MAX:
        why = why[: WHY_CHARACTERS_MAX - 1] + "…"
    return why if why.isascii() else why.encode("utf-8", "replace").decode()


def _is_json(correction: Correction) -> bool:
    try:
        canonical(correction.to_json()).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _number(returned: Any) -> float:
    if returned is None:
        raise SeverityRefusedError("returned nothing. Return 0 when nothing is wrong, or Abstain when it cannot tell.")
    if isinstance(returned, Severity):
        returned = returned.value
    if isinstance(returned, bool):
        return 1.0 if returned else 0.0
    try:
        value = float(returned) if not isinstance(returned, str) else math.nan
    except (TypeError, ValueError):
        raise SeverityRefusedError(
            f"returned {type(returned).__name__}. Return a number ≥ 0, a bool, a Severity or Abstain."
        ) from None
    if not (0 <= value <= SEVERITY_MAX):
        kind = "NaN or text" if math.isnan(value) else "a negative or endless number"
        raise SeverityRefusedError(f"returned {kind}. A severity is a number from 0 to {SEVERITY_MAX:g}.")
    return value
