"""The assertion of benchmarks.alerts_impact: it judges a text while it is written, and only reports."""

from __future__ import annotations

import os

from assertions import library
from benchmarks.processes import PIPELINE_VARIABLE

REPEATS = library.repetition(on=f"{os.environ.get(PIPELINE_VARIABLE, 'bench')}.draft")
