"""The producer of a process, without a broker: what is refused is told, what is not acknowledged is counted."""

from __future__ import annotations

import asyncio

from confluent_kafka import KafkaError

from streams.errors import BrokerError
from streams.runtime.producer import BURST_RECORDS, PRODUCER_CONFIG, LoopProducer
from streams.settings import KafkaSettings

NOWHERE = KafkaSettings(bootstrap="127.0.0.1:1")
TOO_LARGE = b"x" * (int(str(PRODUCER_CONFIG["message.max.bytes"])) + 1)


async def test_what_the_client_refuses_is_told_on_the_loop_and_never_inside_send() -> None:
    told: list[KafkaError | None] = []
    producer = LoopProducer(NOWHERE, lambda error: None)
    producer.send("t", "k", TOO_LARGE, [], lambda error, _: told.append(error))
    assert told == []
    await asyncio.sleep(0.05)
    assert [error.code() for error in told if error is not None] == [KafkaError.MSG_SIZE_TOO_LARGE]
    assert await producer.flush(0.0) == 0


async def test_a_refusal_that_nobody_listens_to_is_fatal() -> None:
    fatal: list[BaseException] = []
    producer = LoopProducer(NOWHERE, fatal.append)
    producer.send("t", "k", TOO_LARGE, [])
    await asyncio.sleep(0.05)
    assert [type(error) for error in fatal] == [BrokerError]


async def test_flush_says_how_much_no_broker_has() -> None:
    producer = LoopProducer(NOWHERE, lambda error: None)
    for number in range(BURST_RECORDS + 5):
        producer.send("t", "k", b"%d" % number, [])
    assert await producer.flush(0.05) == BURST_RECORDS + 5
