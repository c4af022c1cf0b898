"""Where an error came from, without what it says: its text, and values in a traceback, may quote what is processed."""

from __future__ import annotations

import traceback
from typing import Final

FRAMES: Final = 8


def places_of(error: BaseException) -> list[str]:
    """file:line function, innermost last."""
    cause = error.__cause__ or error
    return [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(cause.__traceback__)][-FRAMES:]
