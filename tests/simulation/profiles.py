"""How many histories: DESCANT_PROFILE=dev (default) | ci | nightly."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, Phase, settings

HISTORIES: Final = {"dev": 300, "ci": 2_500, "nightly": 25_000}
"""About 11 ms of CPU each: ci half a minute, nightly five minutes, of one core that nobody else uses."""

PROFILE: Final = os.environ.get("DESCANT_PROFILE", "dev")

histories = settings(
    max_examples=HISTORIES[PROFILE],
    deadline=None,
    derandomize=PROFILE != "nightly",
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
)
