"""FastStream over confluent-kafka: a subscriber that publishes what it gets."""

import asyncio
import sys

from faststream import FastStream
from faststream.confluent import KafkaBroker

bootstrap, source, target = sys.argv[1:4]
broker = KafkaBroker(bootstrap, linger_ms=0, acks="all", enable_idempotence=True, logger=None)


@broker.subscriber(source, group_id=f"faststream-{source}", auto_offset_reset="earliest", no_reply=True)
async def forward(body: bytes) -> None:
    await broker.publish(body, target)


asyncio.run(FastStream(broker, logger=None).run())
