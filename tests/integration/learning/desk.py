"""What tests of the learning processes have in hand: the processes, and the fold of everything that is out."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import ClassVar

from confluent_kafka import Producer

from assertions.core.flag import CorrectionRef, FlagState
from assertions.processor.runner import ensure_shared
from learning.flagreader import FLAGS
from learning.records import Record
from learning.view import Learned, View, topics
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from tests.console.records import flag

WAIT_SECONDS_MAX = 240.0


class LearningDesk:
    """Of one model and one group that nobody else has. `close` ends what it started."""

    module: ClassVar[str]
    """What `start` runs, of this package."""

    def __init__(self, kafka: KafkaForTests) -> None:
        self.settings = KafkaSettings(bootstrap=kafka.bootstrap)
        ensure_topics(self.settings, topics())
        ensure_shared(self.settings)
        self.model = kafka.unique("model")
        self.group = kafka.unique(self.module)
        self._view = View(self.settings)
        self._producer = Producer({**self.settings.client(), "partitioner": "murmur2_random"})
        self._running: list[subprocess.Popen[bytes]] = []

    def put(self, *records: Record) -> None:
        failed: list[object] = []
        for record in records:
            self._producer.produce(
                record.topic, record.encoded(), record.key, on_delivery=lambda e, _: failed.append(e) if e else None
            )
        assert self._producer.flush(30) == 0
        assert not failed

    def flags(
        self, first: int, count: int, *, assertion: str = "odd", state: FlagState = FlagState.STANDING,
        says: Callable[[float], str] | None = None,
    ) -> None:  # fmt: skip
        """`says`: the class that the flags' corrections propose."""
        for i in range(first, first + count):
            name, x = f"{self.model}-{i}", (i * 17 % 40) / 40
            example = {"verdict": {"name": name, "x": x, "model": self.model}}
            correction = None if says is None else CorrectionRef(kind="modify", changes={"label": says(x)})
            raised = flag(
                assertion, name, example, id=f"{assertion}-{name}", severity=1.0 + i, state=state, correction=correction
            )
            self._producer.produce(FLAGS, raised.to_bytes(), raised.subject)
        assert self._producer.flush(30) == 0

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", f"tests.integration.learning.{self.module}", "--bootstrap", self.settings.bootstrap,
            "--model", self.model, "--group", self.group, *options,
        ]  # fmt: skip
        # No pipes: a process blocks on one that is full and read by nobody.
        self._running.append(subprocess.Popen(command))
        return self._running[-1]

    def learned(self) -> Learned:
        return self._view.catch_up()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        ends_at = time.monotonic() + WAIT_SECONDS_MAX
        while not holds():
            dead = [p for p in self._running if p.poll() not in {None, 0, -9}]
            assert not dead, dead[0].returncode
            assert time.monotonic() < ends_at, f"not within {WAIT_SECONDS_MAX:.0f} s: {what}"
            self._view.poll(0.2)

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
        self._view.close()
