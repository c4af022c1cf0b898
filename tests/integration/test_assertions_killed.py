"""Processors of one group, killed again and again while items come: no flag is lost, and none is written twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from assertions import FlagState
from streams.testing import KafkaForTests
from tests.integration.pipeline_records import PipelineRecords
from tests.integration.test_assertions import FlagsOf, processor, standing, verdict

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

SEEDS = [int(seed) for seed in os.environ.get("DESCANT_KILL_SEEDS", "1 2").split()]
KILLS = 4
ITEMS_PER_SECOND = 40
RECOVERED_SECONDS = 300.0
"""A killed member's partitions are given away after 6 to 10 s; the rest is for a machine with much else to do."""


class Writing(threading.Thread):
    """Items and their answers at a steady rate, until it is told to stop."""

    def __init__(self, pipeline: PipelineRecords) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.count = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(1 / ITEMS_PER_SECOND):
            name = f"r{self.count}"
            serial = self.pipeline.serial(name)
            self.pipeline.item("verdict", serial, name, verdict(self.count))
            self.pipeline.answer("verdict", serial, name)
            self.count += 1
        self.pipeline.flush(60.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_processors_killed_under_load_lose_no_flag_and_double_none(kafka: KafkaForTests, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    pipeline, group = PipelineRecords(kafka, "verdict"), kafka.unique("group")
    flags, writing = FlagsOf(kafka, pipeline.name), Writing(pipeline)
    roles: dict[str, tuple[str, ...]] = {"intake": (), "judging": ("--no-intake",)}
    told = [f"seed {seed}"]
    with ExitStack() as stack:
        running: dict[str, subprocess.Popen[bytes]] = {
            role: stack.enter_context(processor(kafka, pipeline.name, group, *options))
            for role, options in roles.items()
        }
        writing.start()
        try:
            flags.until(lambda f: len(standing(f, "unsure")) > 20, RECOVERED_SECONDS)
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.5, 6.0))
                role = chance.choice(list(roles))
                told.append(f"{role} killed after {writing.count} items")
                running[role].send_signal(signal.SIGKILL)
                running[role].wait()
                time.sleep(chance.uniform(0.0, 3.0))
                running[role] = stack.enter_context(processor(kafka, pipeline.name, group, *roles[role]))
                if chance.random() < 0.5:  # else the next one may hit a process that is still starting or replaying
                    before = len(standing(flags.records, "unsure"))
                    flags.until(lambda f, n=before: len(standing(f, "unsure")) > n, RECOVERED_SECONDS)  # type: ignore[misc]
        finally:
            writing.stopping.set()
            writing.join()
        expected = {f"r{n}" for n in range(writing.count) if n % 3}
        flags.until(lambda f: len(standing(f, "unsure")) >= len(expected), RECOVERED_SECONDS)
        assert standing(flags.records, "unsure") == expected, told
    states = Counter((f.id, f.state) for f in flags.records if f.assertion == "unsure")
    assert not {pair: n for pair, n in states.items() if n > 1}, f"{told}: written twice in one state"
    assert not [f for f in flags.records if f.assertion == "unsure" and f.state is FlagState.WITHDRAWN], told
    revisions = Counter((f.id, f.data.revision) for f in flags.records)
    assert max(revisions.values()) == 1, f"{told}: two records of one flag have the same revision"
    flags.close()
