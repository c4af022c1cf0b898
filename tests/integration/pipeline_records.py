"""Records as a pipeline's processes write them, for tests that need a pipeline's topics and not its stages."""

from __future__ import annotations

import json
import time
from typing import Any

from confluent_kafka import Producer

from streams.core.control import ControlEntry
from streams.core.lineage import RunId, Serial
from streams.core.partition import partition_of
from streams.core.record import Envelope, Kind
from streams.testing import KafkaForTests

PARTITIONS = 2


class PipelineRecords:
    """Writes what the stages and the closer of one pipeline would."""

    def __init__(self, kafka: KafkaForTests, *stages: str) -> None:
        self.name = kafka.unique("pipe")
        topics = [f"{self.name}.{stage}" for stage in (*stages, "accepted", "answers", "control")]
        kafka.create_topics(*topics, partitions=PARTITIONS, config={"message.timestamp.type": "LogAppendTime"})
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})
        self._offset = 0

    def item(
        self, stage: str, serial: Serial, request: str, value: Any, path: tuple[int, ...] = (), n: int = 1
    ) -> None:
        envelope = Envelope(
            id=request,
            kind=Kind.ITEM,
            serial=serial,
            plan="p1",
            stage=stage,
            path=path,
            lin=(RunId(1, n),),
            deadline=int(time.time() * 1000) + 60_000,
        )
        self._produce(stage, serial.partition, request, json.dumps(value).encode(), envelope)

    def answer(self, stage: str, serial: Serial, request: str, n: int = 1) -> None:
        envelope = Envelope(
            id=request, kind=Kind.ITEM, serial=serial, plan="p1", stage=stage, lin=(RunId(1, n),), deadline=1
        )
        self._produce("answers", serial.partition, request, b"{}", envelope)
        entry = ControlEntry(serial.offset, "answered", 0, 0)
        self._producer.produce(f"{self.name}.control", entry.encode(), request, partition=serial.partition)

    def serial(self, request: str) -> Serial:
        self._offset += 1
        return Serial(partition_of(request.encode(), PARTITIONS), self._offset)

    def flush(self, seconds: float = 10.0) -> None:
        assert not self._producer.flush(seconds)

    def _produce(self, topic: str, partition: int, key: str, value: bytes, envelope: Envelope) -> None:
        while True:
            try:
                self._producer.produce(
                    f"{self.name}.{topic}", value, key, partition=partition, headers=envelope.headers()
                )
            except BufferError:
                self._producer.poll(0.05)
            else:
                return
