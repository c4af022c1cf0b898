"""The assertion of benchmarks.alerts_abort: it ends a request whose text holds a word."""

from __future__ import annotations

import os

from assertions import assertion
from benchmarks.processes import PIPELINE_VARIABLE

FORBIDDEN = "forbidden"


@assertion(on=f"{os.environ.get(PIPELINE_VARIABLE, 'bench')}.draft", early=True, enforce="abort")
def forbidden(text: str) -> bool:
    return FORBIDDEN in text
