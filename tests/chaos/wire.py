"""Reads the raw log with nothing but what PROTOCOL says of headers: a second implementation, to check the first."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition


class Run(NamedTuple):
    epoch: int
    n: int


Path = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rec:
    """One record as it lies in the log."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: str
    value: bytes | None
    headers: dict[str, str] = field(repr=False)

    def head(self, name: str) -> str:
        return self.headers.get(name, "")

    @property
    def id(self) -> str:
        return self.head("id")

    @property
    def kind(self) -> str:
        return self.head("kind")

    @property
    def serial(self) -> str:
        return self.head("serial")

    @property
    def stage(self) -> str:
        return self.head("stage")

    @property
    def path(self) -> Path:
        return tuple(int(i) for i in self.head("path").split(".") if i)

    @property
    def lin(self) -> tuple[Run | None, ...]:
        text = self.head("lin")
        return tuple(run_of(part) for part in text.split(",")) if text else ()

    @property
    def w(self) -> Run | None:
        return run_of(self.head("w"))

    @property
    def base(self) -> Run | None:
        return run_of(self.head("base"))

    def body(self) -> Any:
        return json.loads(self.value or b"null")

    def __str__(self) -> str:
        shown = " ".join(f"{k}={v}" for k, v in self.headers.items() if k not in ("id", "plan", "deadline"))
        value = (self.value or b"")[:160].decode(errors="replace")
        return f"{self.at_ms} {self.topic}[{self.partition}]@{self.offset} {self.key} {shown} {value}"


def run_of(text: str) -> Run | None:
    epoch, dash, n = text.partition("-")
    return Run(int(epoch), int(n)) if dash else None


def read_topics(bootstrap: str, topics: Iterable[str]) -> dict[str, list[Rec]]:
    """Every committed record there is now, by topic, in log order of each partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"checker-{uuid.uuid4().hex}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "fetch.message.max.bytes": 20_000_000,
            "log_level": 0,
        }
    )
    wanted = set(topics)
    found: dict[str, list[Rec]] = {topic: [] for topic in wanted}
    try:
        known = consumer.list_topics(timeout=30).topics
        places = [TopicPartition(t, q, 0) for t in wanted if t in known for q in known[t].partitions]
        consumer.assign(places)
        open_places = {(p.topic, p.partition) for p in places}
        while open_places:
            for message in consumer.consume(1000, 1.0):
                error = message.error()
                topic, partition = message.topic() or "", message.partition() or 0
                if error is None:
                    found[topic].append(_rec(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_places.discard((topic, partition))
    finally:
        consumer.close()
    return found


def _rec(message: Any) -> Rec:
    key = message.key()
    return Rec(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        key.decode(errors="replace") if isinstance(key, bytes) else (key or ""),
        message.value(),
        {name: (value or b"").decode(errors="replace") for name, value in message.headers() or []},
    )
