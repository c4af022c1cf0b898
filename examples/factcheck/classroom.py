"""The learning topics, as the demo watches and writes them: it waits for what the processes do, and labels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from examples.factcheck.oracle import answers
from examples.factcheck.recipe import exam
from learning import desk
from learning.artefacts import FolderStore
from learning.intervals import wilson
from learning.records import Interval, JobRecord, Label, ModelVersion, Phase
from learning.training import Recipe
from learning.versions import current_of
from learning.view import Learned, View, topics
from streams.errors import ConfigError, DescantError
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings

STEP_SECONDS_MAX: Final = 240.0
"""For one step of the loop on a busy machine; each takes seconds on an idle one."""


@dataclass(frozen=True)
class Standing:
    """Where the verifier stands after some labels."""

    labels: int
    version: int
    state: str
    accuracy: Interval
    """On the exam's claims, which neither training nor gate has seen."""
    reasons: str = ""


class LoopError(DescantError):
    """A step of the loop did not come to its end."""

    code = "demo.learn"


class Classroom:
    """The learning topics, as the demo watches and writes them."""

    def __init__(self, kafka: KafkaSettings, store: FolderStore, recipe: Recipe) -> None:
        self.kafka: Final = kafka
        self.store: Final = store
        self.recipe: Final = recipe
        ensure_topics(kafka, topics())
        self._view: Final = View(kafka)

    def close(self) -> None:
        self._view.close()

    @property
    def learned(self) -> Learned:
        return self._view.learned

    @property
    def current(self) -> ModelVersion | None:
        return current_of(self.learned.known(self.recipe.name))

    async def refuse_used(self) -> None:
        await asyncio.to_thread(self._view.catch_up)
        if self.recipe.name in self.learned.models:
            raise ConfigError(
                f"this Kafka holds labels and versions of {self.recipe.name!r} already, and the demo would mix with "
                "them. Run it without --bootstrap.",
                code="demo.learn.used",
            )

    async def until(self, what: str, holds: Callable[[Learned], bool]) -> None:
        """Raises LoopError when it takes too long."""
        ends_at = time.monotonic() + STEP_SECONDS_MAX
        while not holds(self.learned):
            if time.monotonic() > ends_at:
                raise LoopError(f"{what} did not come within {STEP_SECONDS_MAX:.0f} s.")
            await asyncio.to_thread(self._view.poll, 0.2)

    async def job_done(self, after: JobRecord | None) -> JobRecord:
        """The end of a job that has seen every label. Labels of one transaction may start a job before the last of them
        is read; another one follows it then."""
        await asyncio.to_thread(self._view.catch_up)

        def done(learned: Learned) -> bool:
            job = learned.jobs.get(self.recipe.name)
            if job is None or (after is not None and job.job == after.job):
                return False
            is_over = job.phase in {Phase.PUBLISHED, Phase.FAILED}
            return is_over and job.labels_seen == learned.labels.count(self.recipe.name)

        await self.until("the end of a retraining job", done)
        # The version lies on another topic: it was written with the job's end, and may be read after it.
        await asyncio.to_thread(self._view.catch_up)
        return self.learned.jobs[self.recipe.name]

    def standing(self) -> Standing:
        """Of the newest version and what serves now."""
        newest = self.learned.known(self.recipe.name)[-1]
        serving = self.current or newest
        return Standing(
            self.learned.labels.count(self.recipe.name), newest.version, newest.state.value, self.examined(serving),
            "; ".join(newest.gate.reasons),
        )  # fmt: skip

    def examined(self, version: ModelVersion) -> Interval:
        held_out = exam()
        said = self.recipe.trainer.load(self.store.get(version.artefact)).predict([e.example for e in held_out])
        return wilson(sum(e.value == s for e, s in zip(held_out, said, strict=True)), len(held_out))

    async def first_version(self) -> None:
        """What a person would do: train on the start set alone, and promote it by hand."""
        await asyncio.to_thread(desk.retrain, self.kafka, self.recipe.name)
        job = await self.job_done(None)
        if job.phase is Phase.FAILED:
            raise LoopError(f"the first version cannot be trained: {job.reason}")
        await asyncio.to_thread(desk.promote, self.kafka, self.recipe.name, 1)
        await self.until("version 1", lambda _: self.current is not None)

    async def learn_from_flags(self, number: int) -> None:
        """Wait for a round of label requests, label them as the oracle does, and wait for what the job makes of it."""
        name = self.recipe.name

        def asked(learned: Learned) -> bool:
            return (
                name in learned.choices and learned.choices[name].round == number and bool(learned.labels.pending(name))
            )

        await self.until(f"round {number} of label requests", asked)
        before = self.learned.jobs[name]
        records = answers(self.learned.labels.pending(name), datetime.now(UTC))
        await asyncio.to_thread(desk.publish, self.kafka, records)
        if any(isinstance(record, Label) for record in records):
            job = await self.job_done(before)
            if job.phase is Phase.FAILED:
                raise LoopError(f"a retraining failed: {job.reason}")
