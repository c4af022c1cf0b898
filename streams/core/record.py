"""The envelope: what the headers of every internal record say, as readable ASCII (PROTOCOL §2)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias, cast

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

_KIND_HEADERS: Final = {kind: ("kind", kind.value.encode()) for kind in Kind}


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
        serial, kind = self.serial, self.kind
        found: Headers = [("id", self.id.encode()), _KIND_HEADERS[kind], ("plan", self.plan.encode())]
        if serial is not None:
            found.append(("serial", b"%d:%d" % serial))
        if self.stage:
            found += (
                ("stage", self.stage.encode()),
                ("path", format_path(self.path).encode() if self.path else b""),
                ("lin", format_lineage(self.lin).encode()),
            )
        found.append(("deadline", b"%d" % self.deadline))
        if self.traceparent:
            found.append(("traceparent", self.traceparent.encode()))
        if self.hold:
            found.append(("hold", b"1"))
        if kind is Kind.END:
            found.append(("count", b"%d" % self.total))
        elif kind is Kind.CHUNK:
            found.append(("pos", b"%d" % self.position))
        if self.base is not None and self.w is not None:
            found += (("base", b"%d-%d" % self.base), ("w", b"%d-%d" % self.w))
        if self.revisions:
            found.append(("revisions", b"%d" % self.revisions))
        if self.digests:
            found.append(("digests", ",".join(f"{s}={d:x}" for s, d in self.digests).encode()))
        return found


def parse_envelope(headers: Iterable[tuple[str, bytes | None]] | None) -> Envelope:
    """Read the headers of an internal record. Raises RecordError, code `record.envelope`, if they are not ours."""
    given = dict(headers or ())
    raw = cast("dict[str, bytes]", given)
    if None in given.values():
        raw = {name: value or b"" for name, value in given.items()}
    size = sum(map(len, raw)) + sum(map(len, raw.values()))
    if size > HEADER_BYTES_MAX:
        raise RecordError(f"headers have {size} bytes, more than {HEADER_BYTES_MAX}", code="record.envelope")
    get = raw.get
    try:
        kind = KINDS[raw["kind"]]
        serial, base, w = get("serial"), get("base"), get("w")
        return Envelope(  # by position: by name it takes twice as long, and this is done for every record
            raw["id"].decode(),
            kind,
            parse_serial(serial) if serial is not None else None,
            raw["plan"].decode("ascii"),
            get("stage", b"").decode(),
            parse_path(get("path", b"")),
            parse_lineage(get("lin", b"")),
            _count(raw, "deadline"),
            get("traceparent", b"").decode("ascii"),
            get("hold") == b"1",
            _count(raw, "count") if kind is Kind.END else 0,
            _count(raw, "pos") if kind is Kind.CHUNK else 0,
            parse_run(base) if base is not None else None,
            parse_run(w) if w is not None else None,
            _count(raw, "revisions") if "revisions" in raw else 0,
            _digests(raw["digests"]) if "digests" in raw else (),
        )
    except KeyError as missing:
        raise RecordError(f"header {missing} is missing or unknown", code="record.envelope") from None
    except ValueError:  # not text, or a number of more digits than Python reads
        raise RecordError("a header is not readable", code="record.envelope") from None


def _count(raw: Mapping[str, bytes], name: str) -> int:
    value = raw[name]
    if not value.isdigit() or len(value) > 18:
        raise RecordError(f"header {name!r} is not a count", code="record.envelope")
    return int(value)


def _digests(text: bytes) -> tuple[tuple[str, int], ...]:
    pairs = [part.partition("=") for part in text.decode().split(",")]
    try:
        return tuple((stage, int(value, 16)) for stage, _, value in pairs)
    except ValueError:
        raise RecordError("header 'digests' is not stage=hex", code="record.envelope") from None
