"""The newest flags, each as it last was, and the observations that they refer to. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from assertions.core.flag import Flag, FlagState
from assertions.core.log import Routed, decode_batch
from assertions.core.observation import JOINED
from assertions.errors import ObservationError

OBSERVATIONS_MAX: Final = 20_000
OBSERVATION_CHARS_MAX: Final = 20_000
"""An example's other side is shown up to here."""


class Side(BaseModel):
    """What a flag was judged against: one observation of its window."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    reference: str
    request: str | None = None
    path: str = ""
    example: dict[str, Any] | None = None
    """Stage → value; None where the observation is not to be had any more."""


class FlagPage(BaseModel):
    """What `GET /v1/flags` answers."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    flags: tuple[Flag, ...]
    """Newest first."""
    next: str | None
    """Give it as `before` for the page that follows; None: there is none."""
    total: int
    """Of all kept flags that fit the filter, withdrawn ones not counted."""
    assertions: tuple[str, ...]
    """Names that have raised a flag."""


class Board:
    def __init__(self, keep: int) -> None:
        self._keep: Final = keep
        self._flags: Final[OrderedDict[str, Flag]] = OrderedDict()
        self._by_observation: Final[dict[str, str]] = {}
        self._observations: Final[OrderedDict[str, Side]] = OrderedDict()
        self.unreadable = 0
        """Records on the flags topic that are no flags of this version."""

    def on_flag(self, value: bytes) -> Flag | None:
        """The next record of `assertions.flags`; the flag, if it is news."""
        try:
            flag = Flag.from_bytes(value)
        except ValidationError:
            self.unreadable += 1
            return None
        known = self._flags.get(flag.id)
        if known is not None and known.data.revision >= flag.data.revision:
            return None
        self._flags[flag.id] = flag
        self._by_observation[observation_id(flag)] = flag.id
        if len(self._flags) > self._keep:
            _, oldest = self._flags.popitem(last=False)
            self._by_observation.pop(observation_id(oldest), None)
        return flag

    def on_observations(self, value: bytes) -> None:
        """The next record of an observation log."""
        try:
            batch = decode_batch(value)
        except ObservationError:
            return
        for event in batch.events:
            if isinstance(event, Routed):
                seen = event.observation
                example = {stage: _cut(shown) for stage, shown in zip(seen.stages, seen.values, strict=True)}
                self._observations[seen.id] = Side(
                    reference=seen.id, request=seen.request or None, path=seen.path, example=example
                )
        while len(self._observations) > OBSERVATIONS_MAX:
            self._observations.popitem(last=False)

    def page(
        self,
        *,
        count: int,
        before: str | None = None,
        assertion: str | None = None,
        min_severity: float = 0.0,
        withdrawn: bool = False,
    ) -> FlagPage:
        """Up to `count` flags, newest first, that were raised before the flag `before`."""
        fitting = [
            flag
            for flag in reversed(self._flags.values())
            if (assertion is None or flag.assertion == assertion)
            and flag.severity >= min_severity
            and (withdrawn or flag.state is not FlagState.WITHDRAWN)
        ]
        start = 0
        if before is not None:
            start = next((i + 1 for i, flag in enumerate(fitting) if flag.id == before), len(fitting))
        shown = tuple(fitting[start : start + count])
        has_more = start + count < len(fitting)
        return FlagPage(
            flags=shown,
            next=shown[-1].id if has_more and shown else None,
            total=sum(flag.state is not FlagState.WITHDRAWN for flag in fitting),
            assertions=tuple(sorted({flag.assertion for flag in self._flags.values()})),
        )

    def flag(self, flag_id: str) -> Flag | None:
        return self._flags.get(flag_id)

    def sides(self, flag: Flag) -> list[Side]:
        """The other sides: what it was judged against, nearest first."""
        return [self._side(reference) for reference in reversed(flag.data.window)]

    def _side(self, reference: str) -> Side:
        seen = self._observations.get(reference)
        if seen is not None:
            return seen
        other = self._flags.get(self._by_observation.get(reference, ""))
        if other is not None:
            place = other.data.lineage
            return Side(reference=reference, request=place.request, path=place.path, example=other.data.example)
        return Side(reference=reference)


def observation_id(flag: Flag) -> str:
    """The id of the observation that it was raised on, as other flags' windows name it."""
    place = flag.data.lineage
    return "/".join((place.pipeline, JOINED.join(place.stages), place.serial, place.path, place.run))


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > OBSERVATION_CHARS_MAX:
        return value[:OBSERVATION_CHARS_MAX] + "…"
    return value
