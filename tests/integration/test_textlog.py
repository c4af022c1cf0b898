"""Reading the texts of a lane back, when many of them lie among each other in one partition."""

from __future__ import annotations

import asyncio
import time

import pytest
from confluent_kafka import Producer

from streams.core.lane import Prompt, TextNode
from streams.core.lineage import RunId, Serial
from streams.core.record import Envelope, Kind
from streams.runtime.offsets import OffsetLookup
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from workers.service.textlog import TextLog

pytestmark = pytest.mark.integration

PROMPTS = 500
CHUNKS = 60
W = RunId(7, 1)


def prompt(number: int) -> Prompt:
    envelope = Envelope(
        id=f"r{number}",
        kind=Kind.ITEM,
        serial=Serial(0, number),
        plan="p",
        stage="draft",
        lin=(RunId(1, number),),
        deadline=1,
    )
    return Prompt(number, TextNode("p", "p", Serial(0, number), "draft", ()), envelope, None)


def chunk(of: Prompt, position: int) -> Envelope:
    return of.envelope._replace(kind=Kind.CHUNK, base=W, w=W, position=position)


async def test_500_looks_at_30_000_records_read_them_once(kafka: KafkaForTests) -> None:
    """With a pass for each this is 15 million records, some ten minutes; the test's time limit is two."""
    topic = kafka.unique("draft")
    kafka.create_topics(topic, config={"message.timestamp.type": "LogAppendTime"})
    prompts = [prompt(number) for number in range(PROMPTS)]
    before = int(time.time() * 1000)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True})
    for position in range(CHUNKS):
        for of in prompts:
            producer.produce(topic, b"%d" % position, partition=0, headers=chunk(of, position).headers())
            producer.poll(0)
    producer.produce(topic, b"of nobody", partition=0)
    assert producer.flush(60) == 0

    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    log = TextLog(settings, OffsetLookup(settings))
    try:
        found = await asyncio.gather(*(log.look(topic, 0, before, of) for of in prompts))
        for text in found:
            assert [int(value or b"") for _, value in text.records] == list(range(CHUNKS))
            assert text.end == PROMPTS * CHUNKS + 1
        # What a fence's reading asks: from where a look ended, or any other range, beside a look that has it all.
        part, whole, nothing = await asyncio.gather(
            log.read(topic, 0, PROMPTS, 3 * PROMPTS, prompts[1]),
            log.look(topic, 0, before, prompts[1]),
            log.read(topic, 0, text.end, text.end, prompts[1]),
        )
        assert [envelope.position for envelope, _ in part.records] == [1, 2]
        assert len(whole.records) == CHUNKS
        assert nothing.records == []
    finally:
        await log.close()


async def test_a_look_at_a_partition_that_has_nothing_so_late_finds_nothing(kafka: KafkaForTests) -> None:
    topic = kafka.unique("draft")
    kafka.create_topics(topic, config={"message.timestamp.type": "LogAppendTime"})
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    log = TextLog(settings, OffsetLookup(settings))
    try:
        found = await log.look(topic, 0, int(time.time() * 1000) + 60_000, prompt(1))
        assert (found.records, found.end) == ([], 0)
    finally:
        await log.close()
