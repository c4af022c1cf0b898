"""A wish for another run of a node, with a hint or with the value in its place (docs/decisions/enforcing.md).

Whoever judges what a node gave, and is no part of the flow, writes it to the home topic of the node's stage, so that
the stage's slot reads it in the same order on every takeover.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from streams.errors import RecordError

REVISIONS_MAX: Final = 5
"""Of one node on the same ancestors. A model that is asked again for ever would hold its request until the deadline."""


@dataclass(frozen=True, slots=True)
class Revision:
    id: str
    """The same wish written twice is one."""
    hint: str = ""
    """For the function, through `streams.hints`."""
    value: bytes | None = None
    """JSON of the output that stands in place of what the function would give; None: it is called again."""

    def encode(self) -> bytes:
        body: dict[str, Any] = {"id": self.id, "hint": self.hint}
        if self.value is not None:
            body["value"] = self.value.decode()
        return json.dumps(body, ensure_ascii=False).encode()


def decode_revision(value: bytes | None) -> Revision:
    """Raises RecordError, code `record.revision`."""
    try:
        body = json.loads(value or b"")
        given = body.get("value")
        return Revision(str(body["id"]), str(body.get("hint", "")), None if given is None else given.encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RecordError("the value is no revision", code="record.revision") from None
