"""Offsets are found through a restart of the broker."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.broker import EmbeddedKafka, has_java
from streams.runtime.offsets import OffsetLookup
from streams.settings import KafkaSettings

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not has_java(), reason="kills a broker of its own, which needs Java"),
]


@pytest.mark.timeout(240)  # two starts of a broker, on a busy machine
async def test_ends_are_found_after_the_broker_was_killed_and_restarted() -> None:
    with EmbeddedKafka() as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
        admin.create_topics([NewTopic("t", 2, 1)])["t"].result()
        lookup = OffsetLookup(KafkaSettings(bootstrap=kafka.bootstrap))
        assert await lookup.ends([("t", 0), ("t", 1)]) == {("t", 0): 0, ("t", 1): 0}
        for _ in range(2):
            kafka.kill()
            await asyncio.to_thread(kafka.restart)
            async with asyncio.timeout(60):
                assert await lookup.ends([("t", 0), ("t", 1)]) == {("t", 0): 0, ("t", 1): 0}
