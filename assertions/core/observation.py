"""What an assertion looks at: one item (or text, or several joined items) of one run of one request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic_core import from_json

from assertions.errors import ObservationError

JOINED: Final = "+"
"""Between stage names of an observation that joins several; no stage name may contain it."""


# pydantic-core reads 200 levels; a value is wrapped in some ten more on its way to a flag.
DEPTH_MAX: Final = 180
_WRAPPED: Final = 200 - DEPTH_MAX


def parse_value(raw: bytes | str) -> Any:
    """JSON that can be written again: no lone surrogates, and no deeper than DEPTH_MAX. Raises ValueError."""
    encoded = raw.encode() if isinstance(raw, str) else raw
    value = from_json(encoded)
    if encoded.count(b"[") + encoded.count(b"{") > DEPTH_MAX:
        from_json(b"[" * _WRAPPED + encoded + b"]" * _WRAPPED)
    return value


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def canonical(value: Any) -> str:
    """One spelling per JSON value, so that equal values compare, hash and sort alike everywhere."""
    return _CANONICAL.encode(value)


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing to judge. Two observations are the same one if and only if their `id` is equal.

    A node that ran twice gives two observations, because `run` differs; the one that did not stand is withdrawn.
    """

    pipeline: str
    stages: tuple[str, ...]
    """In the order of the assertion's `on`; one value each."""
    values: tuple[Any, ...]
    """Plain JSON values."""
    serial: str
    """Names the accepted request, "partition:offset"."""
    path: str
    """Child indices from the request root, "0.3"; "" at the root."""
    time: float
    """Event time, seconds since 1970."""
    request: str = ""
    run: str = ""
    """Run ids of the item and its ancestors, "epoch-n" joined by ",". Empty for data that never was speculative."""
    is_complete: bool = True
    """False for a text that is still being generated."""
    model: str | None = None
    plan: str | None = None
    trace: str | None = None
    """W3C traceparent of the request."""
    source: str | None = None
    """"topic:partition:offset" of the (last) record; where a value too large for a flag can be read."""
    revisions: int = 0
    """How many wishes for another output the last stage's run has heeded."""

    stage: str = field(init=False, repr=False, compare=False)
    id: str = field(init=False, repr=False, compare=False)
    """Stable across replays, partitions and processors. Made once: evaluators ask for it many times."""
    order: tuple[float, str] = field(init=False, repr=False, compare=False)
    """Event time first; the id decides between equals, so that the order never depends on arrival."""

    def __post_init__(self) -> None:
        stage = JOINED.join(self.stages)
        name = "/".join((self.pipeline, stage, self.serial, self.path, self.run))
        object.__setattr__(self, "stage", stage)
        object.__setattr__(self, "id", name)
        object.__setattr__(self, "order", (self.time, name))

    @property
    def subject(self) -> str:
        """The example as people and labels refer to it: the same for every assertion that looks at this item."""
        return "/".join(part for part in (self.request or self.serial, self.path) if part)

    def with_values(self, *values: Any) -> Observation:
        """The same example holding something else, as a person's label in place of a model's output."""
        if len(values) != len(self.stages):
            raise ObservationError(f"{len(values)} values for {len(self.stages)} stages of {self.id!r}")
        return replace(self, values=values)

    def to_json(self) -> dict[str, Any]:
        """A line of an observations file. `from_json` gives the same observation back."""
        line: dict[str, Any] = {
            "pipeline": self.pipeline,
            "stages": list(self.stages),
            "values": list(self.values),
            "serial": self.serial,
            "path": self.path,
            "time": self.time,
        }
        for name in ("request", "run", "model", "plan", "trace", "source", "revisions"):
            if given := getattr(self, name):
                line[name] = given
        if not self.is_complete:
            line["is_complete"] = False
        return line

    @staticmethod
    def from_json(line: Mapping[str, Any]) -> Observation:
        """Read a line of a file. `stage` and `value` may stand for `stages` and `values` with one element.

        Raises ObservationError for a missing or wrongly typed field; never shows the value.
        """
        try:
            stages = tuple(line["stages"]) if "stages" in line else (line["stage"],)
            values = tuple(line["values"]) if "values" in line else (line["value"],)
            if len(stages) != len(values):
                raise ObservationError(f"{len(stages)} stages and {len(values)} values")
            time = line["time"]
            if isinstance(time, bool) or not isinstance(time, int | float):
                raise ObservationError("`time` is not a number of seconds")
            return Observation(
                pipeline=str(line.get("pipeline", "file")),
                stages=stages,
                values=values,
                serial=str(line["serial"]),
                path=str(line.get("path", "")),
                time=float(time),
                request=str(line.get("request", "")),
                run=str(line.get("run", "")),
                is_complete=bool(line.get("is_complete", True)),
                model=line.get("model"),
                plan=line.get("plan"),
                trace=line.get("trace"),
                source=line.get("source"),
                revisions=int(line.get("revisions", 0)),
            )
        except KeyError as missing:
            raise ObservationError(f"an observation needs the field {missing}") from None


@dataclass(frozen=True, slots=True)
class Seen:
    """An observation arrived, or a text grew: the same id again replaces what was there."""

    observation: Observation
    stands: bool = False
    """True where nothing is speculative: files, labels, a request already closed on this run."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A run was outranked, or its request closed on another one: the observation never happened."""

    observation_id: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The observation's request was answered, and this is what it was answered on."""

    observation_id: str


@dataclass(frozen=True, slots=True)
class Watermark:
    """Nothing earlier than `time` (seconds) is expected any more; what comes nevertheless is late."""

    time: float


Event = Seen | Superseded | Closed | Watermark


def digest(*parts: str) -> str:
    """32 hex digits that name these parts; lengths are hashed too, so that no two lists of parts collide."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        hashed.update(len(encoded).to_bytes(8, "big"))
        hashed.update(encoded)
    return hashed.hexdigest()
