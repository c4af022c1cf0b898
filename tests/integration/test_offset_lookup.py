"""Offsets are found through a restart of the broker."""

from __future__ import annotations

import asyncio
import time

import pytest
from confluent_kafka import KafkaException, Producer
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
        _check_ends_around_an_open_transaction(KafkaSettings(bootstrap=kafka.bootstrap), lookup)
        kafka.kill()
        short = OffsetLookup(KafkaSettings(bootstrap=kafka.bootstrap), seconds_max=1.0)
        with pytest.raises(KafkaException):
            await asyncio.to_thread(short.end, ("t", 0))


def _check_ends_around_an_open_transaction(settings: KafkaSettings, lookup: OffsetLookup) -> None:
    stable = OffsetLookup(settings, stable=True)
    producer = Producer({**settings.client(), "transactional.id": "open"})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce("t", b"v", partition=0)
    producer.flush(60)
    assert lookup.end(("t", 0)) == 1
    assert stable.ranges([("t", 0), ("t", 1)]) == {("t", 0): (0, 0), ("t", 1): (0, 0)}
    producer.commit_transaction(60)
    ends_at = time.monotonic() + 60
    while (found := stable.end(("t", 0))) != 2:  # its marker is an offset too
        assert time.monotonic() < ends_at, found
        time.sleep(0.05)
    assert lookup.since(("t", 0), 0) == 0
