"""From flag records to what can be labelled: standing flags, gathered by the example that they are about. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import structlog

from learning.choosing import Choosing, Flagged

POINTS_MAX: Final = 100_000
"""Examples that one model chooses from; of more, the oldest go. A choice among so many takes a quarter of a second."""

TOLD_MAX: Final = 100

log = structlog.get_logger(__name__)


class Gathered:
    """What is flagged for one model."""

    def __init__(self, model: str, choosing: Choosing) -> None:
        self._model: Final = model
        self._choosing: Final = choosing
        self._found: Final[dict[str, Flagged]] = {}
        self.newest_at: float | None = None
        """When the last example came that was not known, on the clock of `now`; None: none since the last round."""
        self._told: Final[set[tuple[str, str]]] = set()
        self.unusable = 0
        """Flags that `Choosing.example` raised on."""

    @property
    def examples(self) -> Mapping[str, Flagged]:
        return self._found

    def take(self, flag: Mapping[str, Any], now: float) -> bool:
        """A record of the flags topic; it may come again. Only a standing flag counts: one that may yet be withdrawn
        would ask people about something that never was an answer. Returns whether it is one more of this model."""
        try:
            if flag["data"]["state"] != "standing":
                return False
            name, severity = str(flag["data"]["assertion"]["name"]), float(flag["data"]["severity"])
            example = self._choosing.example(flag)
            features = None
            if example is not None and self._choosing.features is not None:
                features = tuple(self._choosing.features(example.example))
        except Exception as error:  # noqa: BLE001 the user's function may raise anything; the other flags go on
            self.unusable += 1
            self._tell(flag, type(error).__name__)
            return False
        if example is None or not (math.isfinite(severity) and severity > 0):
            return False
        known = self._found.pop(example.id, None)
        if known is None:
            self.newest_at = now
        flags = dict.fromkeys([*(known.flags if known else ()), str(flag["id"])])
        severities = dict(known.severities) if known else {}
        severities[name] = max(severity, severities.get(name, 0.0))
        proposals = dict(known.proposals) if known else {}
        if example.proposed is not None:
            proposals[name] = example.proposed
        self._found[example.id] = replace(
            example, severities=severities, flags=tuple(flags), features=features, proposals=proposals
        )
        if len(self._found) > POINTS_MAX:
            del self._found[next(iter(self._found))]
        return known is None or len(flags) > len(known.flags)

    def _tell(self, flag: Mapping[str, Any], reason: str) -> None:
        """Once for each assertion and reason: on a busy topic it may be every second flag."""
        data = flag.get("data")
        assertion = data.get("assertion") if isinstance(data, dict) else None
        name = str(assertion.get("name")) if isinstance(assertion, dict) else "?"
        if (name, reason) not in self._told and len(self._told) < TOLD_MAX:
            self._told.add((name, reason))
            log.warning(
                "flags cannot be used", model=self._model, assertion=name[:100], first=flag.get("id"), reason=reason
            )

    def settle(self) -> None:
        """A round was chosen: what is left over is no news."""
        self.newest_at = None

    def forget(self, example: str) -> None:
        """It was put up for labelling: its request says everything that is known of it."""
        self._found.pop(example, None)
