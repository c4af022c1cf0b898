"""Observations of a pipeline's topics over a range of time: what was answered, judged again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

from assertions.core.assembly import Assembler, Incoming
from assertions.core.definition import Assertion
from assertions.core.observation import Closed, Event, Observation, Seen
from assertions.errors import AssertionSetupError
from assertions.history import read_topic
from assertions.processor.intake import DUPLICATE
from assertions.subscription import Since
from streams.core.control import decode_control
from streams.core.lineage import Serial
from streams.core.plan import Plan
from streams.core.record import parse_envelope
from streams.errors import RecordError
from streams.runtime.consumer import headers_of
from streams.settings import KafkaSettings


@dataclass(slots=True)
class Range:
    standing: dict[str, Observation]
    """By id: what answers rest on."""
    open_requests: int = 0
    """Not answered within the range: not judged."""
    unreadable: int = 0


def observations_of(
    kafka: KafkaSettings, pipeline: str, assertions: Iterable[Assertion], plan: Plan | None, since: Since
) -> Range:
    """What these assertions look at, from `since` to now. All of it is held in memory until it is judged.

    Raises BrokerError when a topic cannot be read, AssertionSetupError when there is none.
    """
    assembler = Assembler(pipeline, {a.stages for a in assertions if a.pipeline == pipeline}, plan)
    found = Range({})
    seen: dict[str, Observation] = {}

    def take(events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Seen(observation=observation):
                    seen[observation.id] = observation
                case Closed(observation_id=name) if name in seen:
                    found.standing[name] = seen.pop(name)
                case _:
                    pass

    topics = {f"{pipeline}.{stage}": stage for stage in (*assembler.stages, "answers", "control")}
    existing = AdminClient(kafka.client()).list_topics(timeout=10).topics
    if missing := [topic for topic in topics if topic not in existing]:
        raise AssertionSetupError(f"there is no topic {missing[0]!r}: no such pipeline or stage has run on this Kafka.")
    for topic, stage in topics.items():
        for message in read_topic(kafka, topic, since):
            partition, offset = int(message.partition() or 0), int(message.offset() or 0)
            try:
                if stage == "control":
                    entry = decode_control(message.value())
                    if entry.reason == DUPLICATE:
                        take(assembler.dropped(Serial(partition, entry.offset)))
                    continue
                envelope = parse_envelope(headers_of(message))
                if stage != "answers":
                    at = message.timestamp()[1] / 1000
                    take(assembler.record(Incoming(topic, partition, offset, at, envelope, message.value())))
                elif envelope.serial is not None:
                    take(assembler.answered(envelope.serial, envelope))
            except RecordError:
                found.unreadable += 1
    found.open_requests = assembler.open_count
    return found
