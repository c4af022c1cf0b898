"""The agent reads itself what Faust leaves out, as happens in a rebalance before the first commit."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from assertions.core.flag import Flag, FlagState
from assertions.processor import agents
from assertions.processor.agents import Processor
from assertions.processor.ranges import read_range
from assertions.processor.runner import ensure_shared
from assertions.processor.topics import group_topics, log_topic
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from tests.console.records import flag

pytestmark = [pytest.mark.integration]

RECORDS = 600


class Recording(Processor):
    """Notes what is folded instead of judging it."""

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        super().__init__(kafka, group, [], 1, {})
        self.is_judging.set()  # nobody waits for it, and there is no Faust to ask for the assignment
        self.folded: list[tuple[int, bytes]] = []

    def _fold(self, partition: Any, number: int, records: Any) -> None:
        self.folded += records


class Stream:
    """Gives the events of these offsets, as Faust would."""

    def __init__(self, processor: Processor, group: str, offsets: list[int]) -> None:
        self.acked: list[int] = []
        self._processor = processor
        self._topic = log_topic(group)
        self._offsets = offsets

    def noack(self) -> Stream:
        return self

    async def events(self) -> AsyncIterator[SimpleNamespace]:
        for offset in self._offsets:
            message = SimpleNamespace(topic=self._topic, partition=0, offset=offset, value=b"")
            yield SimpleNamespace(message=message, value=value(offset))
        async with asyncio.timeout(30):
            while not isinstance(self._processor, Recording) or len(self._processor.folded) < RECORDS:  # noqa: ASYNC110 it is another task that folds
                await asyncio.sleep(0.02)

    async def ack(self, event: SimpleNamespace) -> None:
        self.acked.append(event.message.offset)


def value(offset: int) -> bytes:
    return json.dumps({"w": float(offset), "e": []}).encode()


@pytest.fixture
def filled(kafka: KafkaForTests) -> tuple[KafkaSettings, str]:
    settings, group = KafkaSettings(bootstrap=kafka.bootstrap), kafka.unique("group")
    ensure_topics(settings, group_topics(group, 1))
    ensure_shared(settings)
    producer = Producer(settings.client())
    for offset in range(RECORDS):
        producer.produce(log_topic(group), value(offset), partition=0)
    assert producer.flush(30) == 0
    return settings, group


@pytest.mark.parametrize(
    "offsets",
    [
        pytest.param([*range(RECORDS)], id="nothing left out"),
        pytest.param([RECORDS - 1], id="all but the last"),
        pytest.param([0, 1, 2, RECORDS - 2, RECORDS - 1], id="in the middle"),
        pytest.param([0, 1, 2, 0, 1, 2, *range(3, RECORDS)], id="some of them twice"),
        pytest.param([400, 401, *range(RECORDS)], id="back to the beginning after a jump"),
    ],
)
async def test_each_record_is_folded_once_and_in_order(filled: tuple[KafkaSettings, str], offsets: list[int]) -> None:
    processor = Recording(*filled)
    stream = Stream(processor, filled[1], offsets)
    await processor._judge(stream)
    assert processor.folded == [(offset, value(offset)) for offset in range(RECORDS)]
    assert not stream.acked, "nothing is below a checkpoint"


def test_a_range_ends_where_it_is_told(filled: tuple[KafkaSettings, str]) -> None:
    settings, group = filled
    found = [record for batch in read_range(settings, log_topic(group), 0, 10, 590) for record in batch]
    assert found == [(offset, value(offset)) for offset in range(10, 590)]


async def test_a_partition_that_is_taken_away_while_it_is_folded_withdraws_nothing(
    filled: tuple[KafkaSettings, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, group = filled
    raised = flag("odd", "r1", {"verdict": {"n": 1}}, id="f1", state=FlagState.PROVISIONAL)
    folding, may_end = threading.Event(), threading.Event()

    class Raising:
        """Raises the flag again, and takes its time."""

        engine = SimpleNamespace(evaluators={})

        def __init__(self, *_: object) -> None: ...

        def take_all(self, *_: object) -> list[Flag]:
            folding.set()
            assert may_end.wait(30)
            return [raised]

    monkeypatch.setattr(agents, "Fold", Raising)
    processor = Processor(settings, group, [], 1, {})
    processor.is_judging.set()
    written: list[Flag] = []
    monkeypatch.setattr(processor._publisher, "write", lambda _, flags: written.extend(flags))
    monkeypatch.setattr(processor._publisher, "written_since", lambda _: [(0, raised)])
    monkeypatch.setattr(processor, "_log_end", lambda _: 1)  # the first record ends the replay
    stream = Stream(processor, group, [0])
    judging = asyncio.create_task(processor._judge(stream))
    assert await asyncio.to_thread(folding.wait, 30)
    processor._revoked(None, {TopicPartition(log_topic(group), 0)})
    judging.cancel()
    may_end.set()
    await asyncio.to_thread(processor._thread.shutdown)
    assert written == []
