"""Cancelled requests leave nothing behind: no group, no run, no prompt in a lane, no generation in the engine.

The full count, 10,000: `python -m tests.chaos.drills cancels --requests 10000`.
"""

from __future__ import annotations

import sys

import pytest

from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from tests.chaos.drills.cancels import cancel_many

pytestmark = pytest.mark.integration


@pytest.mark.skipif(sys.platform != "linux", reason="reads the size of the process from /proc")
async def test_three_hundred_cancelled_requests_leave_nothing(kafka: KafkaForTests) -> None:
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    found, faults = await cancel_many(settings, kafka.unique("cancels"), 300, lambda _: None)
    assert not faults, found
