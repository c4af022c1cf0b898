"""The envelope: what the headers of every internal record say, as readable ASCII (PROTOCOL §2)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

from streams.core.lineage import (
    ROOT,
    Lineage,
    Path,
    RunId,
    Serial,
    format_lineage,
    format_path,
    parse_lineage,
    parse_path,
    parse_run,
    parse_serial,
)
from streams.errors import RecordError

Headers: TypeAlias = list[tuple[str, str | bytes | None]]

HEADER_BYTES_MAX: Final = 8_192
"""A deep flow's lineage needs some hundred bytes; more is not ours."""


class Kind(enum.StrEnum):
    ITEM = "item"
    END = "end"  # of a fork: child count; of a text: token count
    TOMBSTONE = "tombstone"  # filtered
    ERROR = "error"
    CHUNK = "chunk"  # tokens of a text
    FENCE = "fence"  # shuts out older writers of a text
    CANCEL = "cancel"
    FAIL = "fail"
    REVISE = "revise"  # asks a stage's slot for another run of a node


KINDS: Final = {kind.value.encode(): kind for kind in Kind}


class Envelope(NamedTuple):
    id: str
    """Of the request, chosen by the client."""
    kind: Kind
    serial: Serial | None = None
    """None only on `accepted`, where the record's own place is the serial."""
    plan: str = ""
    stage: str = ""
    """Whose lineage layout `lin` has; markers are forwarded unchanged, so it can differ from the topic's."""
    path: Path = ROOT
    lin: Lineage = ()
    deadline: int = 0
    """Epoch milliseconds."""
    traceparent: str = ""
    hold: bool = False
    """The client asked that stages wait for whole outputs: nothing leaves a run before it has finished."""
    total: int = 0
    """Of `end`: children, or tokens."""
    position: int = 0
    """Of `chunk`: index of its first token."""
    base: RunId | None = None
    """Of a text: the incarnation that wrote token 0."""
    w: RunId | None = None
    """Of a text: the incarnation that wrote this record."""
    revisions: int = 0
    """Of what a run gave: how many wishes for another one it has heeded (docs/decisions/enforcing.md)."""
    digests: tuple[tuple[str, int], ...] = ()
    """(stage, sum of path-and-run hashes) where inputs meet again below a join."""

    def headers(self) -> Headers:
        found: Headers = [("id", self.id.encode()), ("kind", self.kind.value.encode())]
        if self.serial is not None:
            found.append(("serial", f"{self.serial[0]}:{self.serial[1]}".encode()))
        found.append(("plan", self.plan.encode()))
        if self.stage:
            found.append(("stage", self.stage.encode()))
            found.append(("path", format_path(self.path).encode()))
            found.append(("lin", format_lineage(self.lin).encode()))
        found.append(("deadline", b"%d" % self.deadline))
        if self.traceparent:
            found.append(("traceparent", self.traceparent.encode()))
        if self.hold:
            found.append(("hold", b"1"))
        if self.kind is Kind.END:
            found.append(("count", b"%d" % self.total))
        if self.kind is Kind.CHUNK:
            found.append(("pos", b"%d" % self.position))
        if self.base is not None and self.w is not None:
            found.append(("base", str(self.base).encode()))
            found.append(("w", str(self.w).encode()))
        if self.revisions:
            found.append(("revisions", b"%d" % self.revisions))
        if self.digests:
            found.append(("digests", ",".join(f"{s}={d:x}" for s, d in self.digests).encode()))
        return found


def parse_envelope(headers: Iterable[tuple[str, bytes | None]] | None) -> Envelope:
    """Read the headers of an internal record. Raises RecordError, code `record.envelope`, if they are not ours."""
    raw: dict[str, bytes] = {}
    size = 0
    for name, value in headers or ():
        raw[name] = value or b""
        size += len(name) + len(raw[name])
    if size > HEADER_BYTES_MAX:
        raise RecordError(f"headers have {size} bytes, more than {HEADER_BYTES_MAX}", code="record.envelope")
    try:
        kind = KINDS[raw["kind"]]
        return Envelope(
            id=raw["id"].decode(),
            kind=kind,
            serial=parse_serial(raw["serial"].decode("ascii")) if "serial" in raw else None,
            plan=raw["plan"].decode("ascii"),
            stage=raw.get("stage", b"").decode(),
            path=parse_path(raw.get("path", b"").decode("ascii")),
            lin=parse_lineage(raw.get("lin", b"").decode("ascii")),
            deadline=_count(raw, "deadline"),
            traceparent=raw.get("traceparent", b"").decode("ascii"),
            hold=raw.get("hold") == b"1",
            total=_count(raw, "count") if kind is Kind.END else 0,
            position=_count(raw, "pos") if kind is Kind.CHUNK else 0,
            base=parse_run(raw["base"].decode("ascii")) if "base" in raw else None,
            w=parse_run(raw["w"].decode("ascii")) if "w" in raw else None,
            revisions=_count(raw, "revisions") if "revisions" in raw else 0,
            digests=_digests(raw),
        )
    except KeyError as missing:
        raise RecordError(f"header {missing} is missing or unknown", code="record.envelope") from None
    except UnicodeDecodeError:
        raise RecordError("a header is not readable text", code="record.envelope") from None


def _count(raw: Mapping[str, bytes], name: str) -> int:
    value = raw[name]
    if not value.isdigit() or len(value) > 18:
        raise RecordError(f"header {name!r} is not a count", code="record.envelope")
    return int(value)


def _digests(raw: Mapping[str, bytes]) -> tuple[tuple[str, int], ...]:
    if "digests" not in raw:
        return ()
    pairs = [part.partition("=") for part in raw["digests"].decode().split(",")]
    try:
        return tuple((stage, int(value, 16)) for stage, _, value in pairs)
    except ValueError:
        raise RecordError("header 'digests' is not stage=hex", code="record.envelope") from None
