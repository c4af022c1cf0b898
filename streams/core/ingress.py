"""Turns whatever a client produced into exactly one record for `<pipeline>.accepted` (PROTOCOL §9.1–9.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from streams.core.failure import Failure
from streams.core.record import Envelope, Kind

TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C trace context, version 0; ids of zeros only are none."""

ID_CHARS_MAX: Final = 200
"""Ids are in every record's key and headers."""

REASON_CHARS_MAX: Final = 500
"""Of a cancel's reason: a sentence for whoever waits for the answer."""

REQUEST_BYTES_MAX: Final = 512_000
"""Half of Kafka's default record limit: what a stage makes of a request is often larger than the request."""

DEADLINE_SECONDS: Final = 300.0
"""Given to requests that name none; also the most that a request may ask for times `DEADLINE_FACTOR_MAX`."""

DEADLINE_FACTOR_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class IngressLimits:
    request_bytes_max: int = REQUEST_BYTES_MAX
    deadline_seconds: float = DEADLINE_SECONDS


@dataclass(frozen=True, slots=True)
class Accepted:
    """What goes to `accepted`; `dead` says why the original bytes go to dead letters as well."""

    envelope: Envelope
    value: bytes | None
    dead: Failure | None = None


class Ingress:
    def __init__(self, plan_digest: str, validate: Callable[[bytes], bytes], limits: IngressLimits) -> None:
        """`validate` returns the request in normal form, or raises ValueError with a message that quotes no value."""
        self._plan: Final = plan_digest
        self._validate: Final = validate
        self._limits: Final = limits

    def accept(
        self,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: Mapping[str, bytes],
        now_ms: int,
    ) -> Accepted:
        """Never raises: what cannot be used becomes an error for its id, or for `<partition>-<offset>`."""
        fallback = f"{partition}-{offset}"
        request_id, failure = self._id(key, fallback)
        deadline = self._deadline(headers, now_ms)
        envelope = Envelope(
            id=request_id,
            kind=Kind.ITEM,
            plan=self._plan,
            deadline=deadline,
            traceparent=_traceparent(headers.get("traceparent")),
            hold=headers.get("hold") == b"1",
        )
        if headers.get("kind") == b"cancel" and failure is None:
            return Accepted(envelope._replace(kind=Kind.CANCEL), _reason(headers))
        normal: bytes | None = None
        if failure is None:
            normal, failure = self._body(value)
        if failure is None:
            return Accepted(envelope, normal)
        return Accepted(envelope._replace(kind=Kind.ERROR), failure.encode(request_id), failure)

    def _id(self, key: bytes | None, fallback: str) -> tuple[str, Failure | None]:
        if not key:
            return fallback, None
        try:
            text = key.decode()
        except UnicodeDecodeError:
            return fallback, Failure("request.id", "the key is not UTF-8 text")
        if len(text) > ID_CHARS_MAX or not text.isprintable():
            return fallback, Failure("request.id", f"the key is not at most {ID_CHARS_MAX} printable characters")
        return text, None

    def _body(self, value: bytes | None) -> tuple[bytes | None, Failure | None]:
        if not value:
            return None, Failure("request.empty", "the request has no value; send the input model as JSON")
        if len(value) > self._limits.request_bytes_max:
            message = f"the request has {len(value)} bytes, more than {self._limits.request_bytes_max}"
            return None, Failure("limits.request", message)
        try:
            return self._validate(value), None
        except ValueError as error:
            return None, Failure("request.invalid", str(error))

    def _deadline(self, headers: Mapping[str, bytes], now_ms: int) -> int:
        longest = int(self._limits.deadline_seconds * DEADLINE_FACTOR_MAX * 1000)
        for name, since in (("deadline", 0), ("timeout-ms", now_ms)):
            given = headers.get(name, b"")
            if given.isdigit() and len(given) < 16:
                return min(int(given) + since, now_ms + longest)
        return now_ms + int(self._limits.deadline_seconds * 1000)


def _reason(headers: Mapping[str, bytes]) -> bytes | None:
    """Of a cancel, where it gives one: the failure that the answer is to be. The code stays `cancelled`: a client must
    not be able to answer with any other."""
    text = " ".join(headers.get("reason", b"").decode(errors="replace").split())
    if not text:
        return None
    stage = headers.get("stage", b"").decode(errors="replace")
    return Failure("cancelled", text[:REASON_CHARS_MAX], stage if stage.isidentifier() else "").encode()


def _traceparent(value: bytes | None) -> str:
    """As W3C writes it; anything else is not passed on."""
    text = value.decode("ascii", "replace") if value and len(value) == 55 else ""
    return text if TRACEPARENT.fullmatch(text) else ""
