"""What can be seen of a running pipeline from outside: answers, and epochs in committed offsets."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

BATCH_RECORDS: Final = 1_000

EPOCH_SECONDS: Final = 0.4
"""Between looks at the epochs: how exactly a takeover is timed."""


class AnswerWatch:
    """Ids that have an answer; polled by whoever waits."""

    def __init__(self, bootstrap: str, topics: Sequence[str], partitions: int) -> None:
        self._consumer: Final = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "chaos-answers",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(t, q, 0) for t in topics for q in range(partitions)])
        self.answered: Final[dict[tuple[str, str], float]] = {}
        """(topic, id) -> when it was seen, monotonic"""
        self.last_at = time.monotonic()

    def poll(self, seconds: float) -> None:
        """Wait for the first, and take what has come with it."""
        first = self._consumer.poll(seconds)
        if first is None:
            return
        now = time.monotonic()
        for message in (first, *self._consumer.consume(BATCH_RECORDS, 0)):
            key = message.key()
            if message.error() is None and isinstance(key, bytes):
                self.answered.setdefault((message.topic() or "", key.decode()), now)
                self.last_at = now

    def close(self) -> None:
        self._consumer.close()


class EpochWatch:
    """Every takeover of every slot, by the epochs that owners commit."""

    def __init__(self, bootstrap: str, homes: Mapping[str, str], partitions: int) -> None:
        """`homes`: consumer group -> the topic in whose offsets' metadata its epochs are."""
        self._bootstrap: Final = bootstrap
        self._homes: Final = homes
        self._partitions: Final = partitions
        self._epochs: Final[dict[tuple[str, int], int]] = {}
        self.takeovers: Final[list[tuple[float, str, int, int]]] = []
        """(monotonic, group, partition, epoch)"""
        self.faults: Final[list[str]] = []
        self._is_open = True
        self._thread: Final = threading.Thread(target=self._run, name="epochs", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # Not with an AdminClient: listing offsets while the broker is stopped crashed the process (2.16).
        config = {"bootstrap.servers": self._bootstrap, "log_level": 0}
        clients = {group: Consumer({**config, "group.id": group}) for group in self._homes}
        while self._is_open:
            for group, client in clients.items():
                with contextlib.suppress(KafkaException):  # the broker is away: a later look shows it
                    self._look(group, client)
            time.sleep(EPOCH_SECONDS)
        for client in clients.values():
            client.close()

    def _look(self, group: str, client: Consumer) -> None:
        asked = [TopicPartition(self._homes[group], q) for q in range(self._partitions)]
        for place in client.committed(asked, timeout=2):
            parts = (place.metadata or "").split(";")
            if len(parts) < 2 or not parts[1].isdigit():
                continue
            slot, epoch = (group, place.partition), int(parts[1])
            known = self._epochs.get(slot)
            if known is not None and epoch < known:
                self.faults.append(f"the epoch of {group} {place.partition} went back from {known} to {epoch}")
            if known != epoch:
                self._epochs[slot] = epoch
                self.takeovers.append((time.monotonic(), group, place.partition, epoch))

    def first_after(self, group: str, at: float) -> float | None:
        """Seconds from `at` to the group's next takeover."""
        return next((when - at for when, name, _, _ in self.takeovers if name == group and when > at), None)

    def close(self) -> None:
        self._is_open = False
        self._thread.join(10)
