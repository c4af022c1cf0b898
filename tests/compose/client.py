"""A plain Kafka client: it knows two topics and JSON, and nothing of Descant."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

REQUESTS: Final = "factcheck.requests"
ANSWERS: Final = "factcheck.answers"
FLAGS: Final = "assertions.flags"


class NoAnswerError(Exception):
    """What was waited for did not come; the text names it."""


@dataclass(frozen=True, slots=True)
class Answer:
    request_id: str
    seconds: float
    """Since its request was produced."""
    value: dict[str, Any]

    @property
    def problem(self) -> str | None:
        """Why this is no report of the question; None if it is one."""
        if "error" in self.value:
            error = self.value["error"]
            return f"a typed error: {error['code']} in {error['stage'] or 'the pipeline'}: {error['message']}"
        if not self.value.get("text") or not isinstance(self.value.get("verdicts"), list):
            return f"not a report: it has {sorted(self.value)}"
        return None


class PlainClient:
    """Produces requests and reads answers, each with the settings that any client would use."""

    def __init__(self, bootstrap: str) -> None:
        self._settings: Final = {"bootstrap.servers": bootstrap, "log_level": 0}
        self._producer: Final = Producer(self._settings | {"message.timeout.ms": 60_000})
        self._answers: Consumer | None = None
        self._asked: Final[dict[str, float]] = {}
        self._answered: Final[dict[str, Answer]] = {}
        self.counts: Final[Counter[str]] = Counter()

    def connect(self, limit_seconds: float) -> None:
        """Wait until the answers topic is there, then read it from its end on."""
        self._answers = self._at_the_end_of(ANSWERS, time.monotonic() + limit_seconds)

    def ask(self, text: str) -> str:
        """Produce one question and return its id once Kafka has it."""
        request_id = f"compose-test-{uuid.uuid4().hex[:12]}"
        errors: list[object] = []
        self._asked[request_id] = time.monotonic()
        self._producer.produce(
            REQUESTS, json.dumps({"text": text}), request_id, on_delivery=lambda error, _: errors.append(error)
        )
        self._producer.flush(70)
        if errors != [None]:
            raise NoAnswerError(f"Kafka did not take a request: {errors or 'no acknowledgement after 70 s'}")
        return request_id

    def answer_to(self, request_id: str, limit_seconds: float) -> Answer:
        ends_at = time.monotonic() + limit_seconds
        while request_id not in self._answered:
            if time.monotonic() > ends_at:
                raise NoAnswerError(f"no answer to {request_id} within {limit_seconds:.0f} s")
            self._read(0.5)
        return self._answered[request_id]

    def read_rest(self) -> None:
        """Read up to the end that the answers topic has now, so that a second answer would be seen."""
        consumer = self._open()
        ends = {
            place.partition: consumer.get_watermark_offsets(place, timeout=20)[1] for place in consumer.assignment()
        }
        ends_at = time.monotonic() + 30
        while any(0 <= place.offset < ends[place.partition] for place in consumer.position(consumer.assignment())):
            if time.monotonic() > ends_at:
                raise NoAnswerError("the answers topic cannot be read to its end: a transaction is left open")
            self._read(0.5)

    def until_seen(self, topic: str, request_id: str, limit_seconds: float) -> None:
        """Wait until `topic` has a record of the request, by the header `id` that every record of ours has."""
        ends_at = time.monotonic() + limit_seconds
        consumer = self._at_the_end_of(topic, ends_at, back=50)
        try:
            while time.monotonic() < ends_at:
                message = consumer.poll(0.5)
                if message is not None and not message.error() and _request_of(message) == request_id:
                    return
        finally:
            consumer.close()
        raise NoAnswerError(f"{topic} had no record of {request_id} within {limit_seconds:.0f} s")

    def until_flagged(self, request_ids: Collection[str], limit_seconds: float) -> dict[str, Any]:
        """Wait for a flag on one of these requests, by its CloudEvents subject "<request id>/<path>"."""
        ends_at = time.monotonic() + limit_seconds
        consumer = self._at_the_end_of(FLAGS, ends_at, back=1_000)
        try:
            while time.monotonic() < ends_at:
                message = consumer.poll(0.5)
                if message is None or message.error():
                    continue
                flag: dict[str, Any] = json.loads(message.value() or b"{}")
                if flag.get("subject", "").partition("/")[0] in request_ids:
                    return flag
        finally:
            consumer.close()
        raise NoAnswerError(f"no flag on any of {len(request_ids)} requests within {limit_seconds:.0f} s")

    def close(self) -> None:
        if self._answers is not None:
            self._answers.close()

    def _read(self, seconds: float) -> None:
        message = self._open().poll(seconds)
        if message is None or message.error():
            return
        key = (message.key() or b"").decode()
        self.counts[key] += 1
        if key in self._asked and key not in self._answered:
            value = json.loads(message.value() or b"null")
            self._answered[key] = Answer(key, time.monotonic() - self._asked[key], value)

    def _open(self) -> Consumer:
        if self._answers is None:
            raise NoAnswerError("the client is not connected")
        return self._answers

    def _at_the_end_of(self, topic: str, ends_at: float, back: int = 0) -> Consumer:
        """A reader of all partitions that sees only what is committed, from `back` records before their ends."""
        consumer = Consumer(
            self._settings
            | {
                "group.id": f"compose-test-{uuid.uuid4().hex[:8]}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        while True:
            try:
                found = consumer.list_topics(topic, timeout=2).topics[topic]
                if found.error is None and found.partitions:
                    places = [TopicPartition(topic, partition) for partition in found.partitions]
                    for place in places:
                        low, high = consumer.get_watermark_offsets(place, timeout=5)
                        place.offset = max(low, high - back)
                    consumer.assign(places)
                    return consumer
            except KafkaException:
                pass  # no broker yet
            if time.monotonic() > ends_at:
                consumer.close()
                raise NoAnswerError(f"{topic} was not there in time")
            consumer.poll(0.5)


def _request_of(message: Message) -> str:
    headers = dict(message.headers() or [])
    found = headers.get("id") or b""
    return found.decode() if isinstance(found, bytes) else found
