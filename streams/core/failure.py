"""The typed error that stands in place of an item or an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

MESSAGE_CHARS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Failure:
    code: str
    """Stable and dotted, e.g. `stage.raised`, `deadline`, `model.prompt`."""
    message: str
    stage: str = ""

    def encode(self, request_id: str = "") -> bytes:
        body = {"code": self.code, "stage": self.stage, "message": self.message[:MESSAGE_CHARS_MAX]}
        if request_id:
            body["request_id"] = request_id
        return json.dumps({"error": body}, ensure_ascii=False).encode()


def decode_failure(value: bytes | None) -> Failure:
    """Never raises: an error that cannot be read is still an error."""
    try:
        body = json.loads(value or b"")["error"]
        return Failure(str(body["code"]), str(body["message"]), str(body.get("stage", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Failure("record.error", "an error whose record cannot be read")
