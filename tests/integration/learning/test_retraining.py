"""Retraining on a real Kafka: killed in each phase, it loses no label and publishes one whole version, once."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assertions.core.flag import FlagState
from learning.artefacts import FolderStore
from learning.jobs import newest_jobs, told_of
from learning.records import JobRecord, Label, LabelRequest, ModelVersion, Phase, TrainingSet, VersionState
from learning.trace import trace
from learning.view import TOPICS, topics
from streams.testing import KafkaForTests
from tests.integration.learning.desk import WAIT_SECONDS_MAX, LearningDesk
from tests.integration.learning.retrainer import CLASSES, recipe, truth

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Desk(LearningDesk):
    """Labels in, and where the job keeps what it makes."""

    module = "retrainer"

    def __init__(self, kafka: KafkaForTests, folder: Path) -> None:
        super().__init__(kafka)
        self.store = FolderStore(folder)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        return super().start("--store", str(self.store.root), *options)

    def label(self, first: int, count: int, of: int = 40) -> None:
        for i in range(first, first + count):
            name, x = f"{self.model}-{i}", (i * 17 % of) / of
            self.put(
                LabelRequest(
                    id=name,
                    model=self.model,
                    example={"x": x},
                    classes=CLASSES,
                    flags=(f"flag-{i}",),
                    requested_at=NOON,
                ),
                Label(id=f"l-{name}", example=name, model=self.model, labeller="ann", value=truth(x), labelled_at=NOON),
            )

    def versions(self) -> list[ModelVersion]:
        return list(self.learned().known(self.model))

    def job(self) -> JobRecord | None:
        return self.learned().jobs.get(self.model)


@pytest.fixture
def desk(kafka: KafkaForTests, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(kafka, tmp_path / "artefacts")
    yield desk
    desk.close()


def published(desk: Desk, count: int) -> Callable[[], bool]:
    return lambda: len(desk.versions()) >= count and (job := desk.job()) is not None and job.phase is Phase.PUBLISHED


def test_labels_become_a_promoted_version_that_names_each_of_them(desk: Desk) -> None:
    desk.label(0, 20)
    process = desk.start()
    desk.until(published(desk, 1), "the first version")
    (version,) = desk.versions()
    assert version.state is VersionState.CURRENT, version.gate.reasons
    examples = TrainingSet.read(desk.store.get(version.training_set))
    assert examples.digest == version.training_set_digest
    assert {label for e in examples.examples for label in e.labels} == {f"l-{desk.model}-{i}" for i in range(20)}
    assert {flag for e in examples.examples for flag in e.flags} == {f"flag-{i}" for i in range(20)}
    model = recipe(desk.model).trainer.load(desk.store.get(version.artefact))
    assert model.predict([{"x": 0.05}, {"x": 0.95}]) == ["low", "high"]

    desk.label(20, 10)
    desk.until(published(desk, 2), "a second version after ten more labels")
    assert desk.versions()[1].labels == 30
    process.terminate()
    assert process.wait(WAIT_SECONDS_MAX) == 0


def test_new_flags_start_a_job_and_none_counts_twice_after_a_kill(desk: Desk) -> None:
    options = ("--new-labels", "1000", "--new-flags", "6")
    desk.label(0, 20)
    desk.flags(0, 5)
    desk.flags(100, 20, state=FlagState.PROVISIONAL)
    desk.flags(100, 10, state=FlagState.WITHDRAWN)
    first = desk.start(*options)
    time.sleep(5)
    assert desk.job() is None, "five flags stand, and six are waited for"
    desk.flags(5, 1)
    desk.until(published(desk, 1), "a version after the sixth flag")
    job = desk.job()
    assert job is not None
    assert (job.reason, sum(job.flags_read.values()) > 0) == ("flags", True)
    first.kill()
    first.wait(WAIT_SECONDS_MAX)

    desk.start(*options)
    desk.label(20, 1)
    desk.flags(4, 7)
    time.sleep(5)
    assert len(desk.versions()) == 1, "of the seven flags two are known, and those of the first version are spent"
    desk.flags(11, 1)
    desk.until(published(desk, 2), "a version after six more flags")
    assert [v.labels for v in desk.versions()] == [20, 21]


def test_corrections_of_flags_teach_until_a_person_says_otherwise(desk: Desk) -> None:
    options = ("--weak", "--new-flags", "6")
    process = desk.start(*options)
    desk.flags(0, 6, says=lambda x: "low")
    desk.until(lambda: (job := desk.job()) is not None and job.phase is Phase.FAILED, "one class is refused")
    told = desk.job()
    assert told is not None
    assert "learning.training.one-class" in (told.reason or "")
    process.kill()
    process.wait(WAIT_SECONDS_MAX)

    desk.flags(6, 30, says=truth)
    desk.flags(8, 1, assertion="loud", says=lambda x: "low" if truth(x) == "high" else "high")
    desk.start(*options)
    desk.until(published(desk, 1), "a version of what corrections say")
    (version,) = desk.versions()
    assert (version.labels, version.weak, version.conflicts) == (0, 35, 1)
    examples = {e.id: e for e in TrainingSet.read(desk.store.get(version.training_set)).examples}
    assert f"{desk.model}-8" not in examples, "two rules that nobody has checked contradict each other"
    one = examples[f"{desk.model}-9"]
    assert (one.value, one.rules, one.flags) == (truth(9 * 17 % 40 / 40), ("odd",), (f"odd-{one.id}",))
    assert 0 < one.weight < 1
    (walked,) = trace(desk.learned(), desk.store, f"odd-{one.id}")
    assert (walked.example, walked.request, walked.rules, walked.versions) == (one.id, None, ("odd",), (version,))

    desk.label(0, 10)
    desk.until(published(desk, 2), "a version with labels")
    version = desk.versions()[-1]
    assert (version.labels, version.weak, version.conflicts) == (10, 26, 0)
    examples = {e.id: e for e in TrainingSet.read(desk.store.get(version.training_set)).examples}
    for i in range(10):
        one = examples[f"{desk.model}-{i}"]
        assert (one.value, one.rules, one.weight) == (truth(i * 17 % 40 / 40), (), 1.0)


def test_a_request_by_hand_is_remembered_as_served_by_later_jobs(desk: Desk) -> None:
    desk.label(0, 5)
    desk.start()
    desk.put(JobRecord(model=desk.model, job=f"{desk.model}-asked", phase=Phase.ASKED, at=NOON))
    desk.until(published(desk, 1), "a version of five labels, by hand")
    desk.label(5, 15)
    desk.until(published(desk, 2), "a version by the trigger")
    job = desk.job()
    assert job is not None
    assert (job.reason, job.served) == ("labels", f"{desk.model}-asked")
    assert job.job != job.served


@pytest.mark.chaos
@pytest.mark.parametrize(
    "moment",
    [
        "snapshot:stored", "snapshot:uncommitted", "trained:begins", "trained:stored", "trained:uncommitted",
        "gated:uncommitted", "published:begins", "published:uncommitted", "published:done",
    ],
)  # fmt: skip
def test_killed_anywhere_it_loses_no_label_and_publishes_once(desk: Desk, moment: str) -> None:
    desk.label(0, 20)
    first = desk.start("--die", moment)
    assert first.wait(WAIT_SECONDS_MAX) == -9
    for version in desk.versions():
        desk.store.get(version.artefact)  # what is published is whole
    if not moment.startswith("published:done"):
        assert not desk.versions(), "a version came out of a job that was killed before it was published"
    desk.start()
    desk.until(published(desk, 1), "the version, from another process")
    (version,) = desk.versions()
    assert version.labels == 20
    assert version.state is VersionState.CURRENT
    desk.store.get(version.artefact)


def test_one_job_a_model_although_two_processes_run(desk: Desk) -> None:
    desk.start()
    desk.start()
    desk.label(0, 20)
    desk.until(published(desk, 1), "a version")
    desk.label(20, 10)  # as many as start a job: of more, the last might come after its snapshot
    desk.until(lambda: any(v.labels == 30 for v in desk.versions()), "a version of all labels")
    versions = desk.versions()
    assert len({v.job for v in versions}) == len(versions)
    assert sum(v.state is VersionState.CURRENT for v in versions) == 1
    assert [v.version for v in versions] == list(range(1, len(versions) + 1))


@pytest.mark.parametrize(
    ("broken", "code", "kind"),
    [("fit", "learning.training.crashed", "RuntimeError"), ("load", "learning.recipe.crashed", "ValueError")],
)
def test_a_recipe_that_crashes_is_told_and_the_version_stays(desk: Desk, broken: str, code: str, kind: str) -> None:
    desk.label(0, 20)
    good = desk.start()
    desk.until(published(desk, 1), "a version")
    good.terminate()
    good.wait(WAIT_SECONDS_MAX)
    desk.start("--broken", broken)
    desk.label(20, 12)
    desk.until(lambda: (job := desk.job()) is not None and job.phase is Phase.FAILED, "a failed job")
    job = desk.job()
    assert job is not None
    assert job.reason is not None
    assert code in job.reason
    assert kind in job.reason
    assert "secret" not in job.reason
    (version,) = desk.versions()
    assert version.state is VersionState.CURRENT


def test_a_store_that_is_away_for_a_while_costs_nothing_but_time(desk: Desk) -> None:
    desk.label(0, 20)
    desk.start("--away", "4")
    desk.until(published(desk, 1), "a version, although the store was away")
    (version,) = desk.versions()
    assert version.labels == 20
    desk.store.get(version.artefact)


def test_a_store_that_stays_away_fails_the_job(desk: Desk) -> None:
    desk.label(0, 20)
    desk.start("--away", "9")
    desk.until(lambda: (job := desk.job()) is not None and job.phase is Phase.FAILED, "a failed job")
    (told,) = (told_of(job) for job in newest_jobs(desk.learned()) if job.model == desk.model)
    assert "failed: [learning.artefact.unreachable] the store is away" in told
    assert not desk.versions()


def test_one_class_is_not_trained_on_and_a_wrong_label_is_told(desk: Desk) -> None:
    for i in range(12):
        name = f"{desk.model}-{i}"
        desk.put(
            LabelRequest(id=name, model=desk.model, example={"x": 0.9}, classes=CLASSES, requested_at=NOON),
            Label(id=f"l-{name}", example=name, model=desk.model, labeller="ann", value="high", labelled_at=NOON),
        )
    desk.put(
        Label(id=f"{desk.model}-x", example=f"{desk.model}-0", model=desk.model, labeller="bob", value="purple",
              labelled_at=NOON + timedelta(1)),
    )  # fmt: skip
    desk.start()
    desk.until(lambda: (job := desk.job()) is not None and job.phase is Phase.FAILED, "a refused job")
    job = desk.job()
    assert job is not None
    assert job.reason is not None
    assert "one-class" in job.reason
    assert not desk.versions()
    refused = [error for key, error in desk.learned().refused if key == f"{desk.model}-0"]
    assert [error.code for error in refused] == ["learning.label.wrong-class"]


def test_all_topics_are_there() -> None:
    assert {t.topic for t in topics()} == set(TOPICS)
