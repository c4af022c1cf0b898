"""What the brokers say of topics and consumer groups, asked once a refresh."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without saying so

from streams.errors import BrokerError
from streams.runtime.consumer import headers_of
from streams.settings import KafkaSettings

ASK_SECONDS: Final = 5.0

PROBE_SECONDS: Final = 0.5
"""Of one look at single records; what has not come by then is shown at the next."""

PROBES_KEPT: Final = 4_096

Place = tuple[str, int]
"""(topic, partition)"""


@dataclass(frozen=True, slots=True)
class Group:
    members: int
    owned: frozenset[Place]
    committed: Mapping[Place, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """The cluster at one moment."""

    at: float
    """Seconds, monotonic."""
    topics: Mapping[str, int]
    """Name → partitions."""
    ends: Mapping[Place, int]
    groups: Mapping[str, Group]


class Probed(NamedTuple):
    """One record, without what it carries."""

    appended: float
    """Seconds since 1970."""
    headers: Mapping[str, str]


class Cluster:
    """Blocking calls, for a thread; one at a time."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka: Final = kafka
        self._admin: Final = AdminClient(kafka.client())
        self._consumer: Final = Consumer(
            {
                **kafka.client(),
                "group.id": "descant-top",  # never joined
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.message.max.bytes": 4_096,  # the broker sends one record all the same, however large
                "fetch.wait.max.ms": 50,
            }
        )
        self._probed: Final[OrderedDict[tuple[str, int, int], Probed]] = OrderedDict()

    def topics(self) -> dict[str, int]:
        """Raises BrokerError when no broker answers."""
        try:
            found = self._admin.list_topics(timeout=ASK_SECONDS).topics
        except KafkaException as error:
            raise BrokerError(
                f"no Kafka answers at {self._kafka.bootstrap} ({error.args[0].str()}). Is the address right, and is it "
                "up?",
                code="broker.away",
            ) from None
        return {name: len(about.partitions) for name, about in found.items()}

    def look(self, topics: Mapping[str, int], wanted: Iterable[str], groups: Iterable[str]) -> Seen:
        """Ends of the wanted topics' partitions, and the groups. Raises BrokerError."""
        places = [(name, number) for name in wanted for number in range(topics.get(name, 0))]
        try:
            return Seen(time.monotonic(), topics, self._ends(places), self._groups(list(groups)))
        except KafkaException as error:
            raise BrokerError(f"{self._kafka.bootstrap} cannot be asked: {error.args[0].str()}.") from None

    def _ends(self, places: list[Place]) -> dict[Place, int]:
        if not places:
            return {}
        latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = self._admin.list_offsets(
            {TopicPartition(*place): latest for place in places}, request_timeout=ASK_SECONDS
        )
        return {(at.topic, at.partition): future.result().offset for at, future in asked.items()}

    def _groups(self, names: list[str]) -> dict[str, Group]:
        if not names:
            return {}
        described = self._admin.describe_consumer_groups(names, request_timeout=ASK_SECONDS)
        committed = {
            name: self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(name)], request_timeout=ASK_SECONDS
            )[name]
            for name in names
        }
        found = {}
        for name in names:
            members = described[name].result().members
            owned = {(p.topic, p.partition) for m in members for p in m.assignment.topic_partitions}
            offsets = {(p.topic, p.partition): p.offset for p in committed[name].result().topic_partitions or ()}
            found[name] = Group(len(members), frozenset(owned), {at: o for at, o in offsets.items() if o >= 0})
        return found

    def probe(self, places: Iterable[tuple[str, int, int]]) -> dict[tuple[str, int, int], Probed]:
        """(topic, partition, offset) → the record there, or the first one above; each is fetched once."""
        wanted = list(places)
        missing = {
            (topic, number): offset for topic, number, offset in wanted if (topic, number, offset) not in self._probed
        }
        if missing:
            self._consumer.assign(
                [TopicPartition(topic, number, offset) for (topic, number), offset in missing.items()]
            )
            ends_at = time.monotonic() + PROBE_SECONDS
            while missing and time.monotonic() < ends_at:
                message = self._consumer.poll(0.05)
                if message is None:
                    continue
                at = (message.topic() or "", message.partition() or 0)
                offset = missing.pop(at, None)
                if offset is not None and message.error() is None:
                    headers = {name: (value or b"").decode(errors="replace") for name, value in headers_of(message)}
                    self._probed[(*at, offset)] = Probed(message.timestamp()[1] / 1000, headers)
            self._consumer.unassign()
            while len(self._probed) > PROBES_KEPT:
                self._probed.popitem(last=False)
        return {place: self._probed[place] for place in wanted if place in self._probed}

    def close(self) -> None:
        self._consumer.close()
