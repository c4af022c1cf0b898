"""The observation log: events of many requests in one record, as the intake writes them and the processors fold them.

A processor's state is a function of its partition of this log. The intake has assembled requests and found the keys, so
that everything a processor needs of one key is in one partition, and the watermark is in the log itself.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import from_json, to_json

from assertions.core.observation import Closed, Event, Observation, Seen, Superseded
from assertions.core.severity import Broken, Fault
from assertions.errors import ObservationError

# Bytes of one log record before another is begun; Kafka's limit is 1 MB with headers and key.
RECORD_BYTES_MAX: Final = 700_000


@dataclass(frozen=True, slots=True)
class Routed:
    """A seen observation on its way to one partition."""

    observation: Observation
    is_plain: bool
    """Judged here by the assertions whose windows stay within a request."""
    keyed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Assertion → keys that live in this partition."""


@dataclass(frozen=True, slots=True)
class Unkeyed:
    """An assertion's `per` or `id` failed on an observation: nothing to judge, and not to be kept quiet."""

    assertion: str
    fault: Broken


Logged = Routed | Superseded | Closed | Unkeyed


@dataclass(frozen=True, slots=True)
class Batch:
    """One record of the log."""

    watermark: float
    """What comes in later records is not earlier than this."""
    events: tuple[Logged, ...] = ()


def partition_of(key: str, count: int) -> int:
    """The same in every process and version, unlike `hash`."""
    return zlib.crc32(key.encode()) % count


def encode_batch(batch: Batch) -> bytes:
    body = {"w": batch.watermark, "e": [_encode(event) for event in batch.events]}
    return to_json(body, inf_nan_mode="constants")


def split(batch: Batch) -> list[bytes]:
    """As few records as fit below Kafka's limit, in order. The watermark is in the last: it holds of them together."""
    encoded = encode_batch(batch)
    if len(encoded) <= RECORD_BYTES_MAX or len(batch.events) < 2:
        return [encoded]
    middle = len(batch.events) // 2
    first, second = Batch(-math.inf, batch.events[:middle]), Batch(batch.watermark, batch.events[middle:])
    return [*split(first), *split(second)]


def decode_batch(value: bytes | str) -> Batch:
    """Raises ObservationError when the value is no batch."""
    try:
        body = from_json(value)
        return Batch(float(body["w"]), tuple(_decode(event) for event in body["e"]))
    except (ValueError, KeyError, TypeError, IndexError):
        raise ObservationError("the record is no batch of observations") from None


def _encode(event: Logged) -> list[Any]:
    match event:
        case Routed(observation, is_plain, keyed):
            return ["s", observation.to_json(), is_plain, {name: list(keys) for name, keys in keyed.items()}]
        case Superseded(observation_id):
            return ["x", observation_id]
        case Closed(observation_id):
            return ["c", observation_id]
        case Unkeyed(assertion, fault):
            return ["b", assertion, fault.fault.value, fault.reason]


def _decode(event: Sequence[Any]) -> Logged:
    match event:
        case ["s", line, is_plain, keyed]:
            keys = {name: tuple(found) for name, found in keyed.items()}
            return Routed(Observation.from_json(line), bool(is_plain), keys)
        case ["x", observation_id]:
            return Superseded(str(observation_id))
        case ["c", observation_id]:
            return Closed(str(observation_id))
        case ["b", assertion, fault, reason]:
            return Unkeyed(str(assertion), Broken(Fault(fault), str(reason)))
    raise ObservationError("an event of another kind")


def as_event(event: Logged) -> Event | None:
    if isinstance(event, Routed):
        return Seen(event.observation)
    return None if isinstance(event, Unkeyed) else event


def observations_in(batches: Iterable[Batch]) -> Iterable[Observation]:
    """What a range of the log holds, each observation as it last was."""
    found: dict[str, Observation] = {}
    for batch in batches:
        for event in batch.events:
            if isinstance(event, Routed):
                found[event.observation.id] = event.observation
            elif isinstance(event, Superseded):
                found.pop(event.observation_id, None)
    return found.values()
