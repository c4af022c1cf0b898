"""The assertion of benchmarks.alerts_impact: it judges a text while it is written, and only reports."""

from __future__ import annotations

import os

from assertions import library

# Not by import from alerts_forbidden: its assertion would be declared, and end the requests.
REPEATS = library.repetition(on=f"{os.environ.get('BENCH_PIPELINE', 'bench')}.draft")
