"""The fact checker's verifier learns over a real Kafka: flags, a chooser, an oracle, a retraining job, a stage that
follows. Claims come from the tables instead of a language model; the rest is what `descant demo --learn` runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from assertions import Flag, FlagState, Observation, evaluate
from assertions.processor.runner import ensure_shared
from examples.factcheck import watch
from examples.factcheck.classroom import Classroom
from examples.factcheck.corpus import LabelledClaim, claims
from examples.factcheck.judge import judge
from examples.factcheck.learn import taught
from examples.factcheck.models import Claim, Verdict
from examples.factcheck.served import loaded
from examples.factcheck.train import evidence_of
from examples.factcheck.verifier import Verifier, current
from learning.artefacts import FolderStore
from learning.chooser import Chooser
from learning.flagreader import FLAGS
from learning.following import Following, following
from learning.job import RetrainingJob
from learning.records import Label, LabelSource, Phase, VersionState
from learning.training import Recipe
from learning.view import topics
from streams import Resource
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

ASSERTIONS = (watch.refutes_a_match, watch.supports_a_difference, watch.the_model_says_otherwise)
STEP_SECONDS_MAX = 240.0


@pytest.fixture
def recipe(kafka: KafkaForTests) -> Recipe:
    name = kafka.unique("verifier")
    assert taught.choosing is not None
    return replace(taught, name=name, traffic=None, choosing=replace(taught.choosing, quiet_seconds=2.0))


def verdicts(found: list[LabelledClaim], served: Following[Verifier]) -> list[Verdict]:
    """As the stage judges them; the model's own yes or no is right on two of three."""
    given = []
    for number, claim in enumerate(found):
        says_yes = claim.true if number % 3 else not claim.true
        alternatives = {" yes": -0.5, " no": -1.5} if says_yes else {" yes": -1.5, " no": -0.5}
        about = Claim(sentence=claim.text, text=claim.text)
        given.append(judge(about, evidence_of(claim), alternatives, served.of(claim.text)))
    return given


def flags(run: str, given: list[Verdict]) -> list[Flag]:
    observations = []
    for n, verdict in enumerate(given):
        value = verdict.model_dump(mode="json")
        place = f"0:{run}{n}"
        observations.append(
            Observation("factcheck", ("verdict",), (value,), place, "0", float(n), request=f"{run}-{n}")
        )
    return [
        flag.model_copy(update={"data": flag.data.model_copy(update={"state": FlagState.STANDING})})
        for flag in evaluate(ASSERTIONS, observations).flags
    ]


@pytest.fixture
def kafka_settings(kafka: KafkaForTests) -> KafkaSettings:
    settings = KafkaSettings(bootstrap=kafka.bootstrap)
    ensure_topics(settings, topics())
    ensure_shared(settings)
    return settings


@pytest.fixture
def processes(kafka: KafkaForTests, kafka_settings: KafkaSettings, recipe: Recipe, tmp_path: Path) -> Iterator[None]:
    running: list[Chooser | RetrainingJob] = [
        Chooser([recipe], kafka_settings, group=kafka.unique("choosing")),
        RetrainingJob([recipe], FolderStore(tmp_path), kafka_settings, group=kafka.unique("retraining")),
    ]
    threads = [threading.Thread(target=each.run, daemon=True) for each in running]
    for thread in threads:
        thread.start()
    yield
    for each in running:
        each.stop()
    for thread in threads:
        thread.join(60)


async def test_accuracy_rises_and_its_assertions_fire_less(
    kafka_settings: KafkaSettings, processes: None, recipe: Recipe, tmp_path: Path
) -> None:
    store = FolderStore(tmp_path)
    resource = Resource(following(recipe.name, loaded, lambda: store, current))
    classroom = Classroom(kafka_settings, store, recipe)
    producer = Producer(kafka_settings.client())
    corpus = list(claims(1, held_out=False))
    try:
        async with resource.opened(kafka_settings) as served:
            await classroom.first_version()
            before = classroom.standing()
            rates = []
            for number in range(1, 4):
                await classroom.until(
                    "the current version in the stage",
                    lambda _: classroom.current is not None and served.serving.version == classroom.current.version,
                )
                given = verdicts(corpus[number * 60 : (number + 1) * 60], served)
                assert len({v.verifier for v in given}) == 1
                raised = flags(f"{number}", given)
                precise = {f.subject for f in raised if f.assertion != "the_model_says_otherwise"}
                rates.append(len(precise) / len(given))
                for flag in raised:
                    producer.produce(FLAGS, flag.to_bytes(), flag.subject)
                assert producer.flush(30) == 0
                if number < 3:
                    await classroom.learn_from_flags(number)
            after = classroom.standing()
    finally:
        await asyncio.to_thread(classroom.close)
    assert after.accuracy.value > before.accuracy.value + 0.1, (before, after)
    assert rates[-1] < rates[0] / 2, rates
    learned = classroom.learned
    assert learned.choices[recipe.name].round == 2
    requests = [r for r in learned.labels.requests.values() if r.model == recipe.name]  # other tests label as well
    labels = [label for r in requests for label in learned.labels.opinion(r.id).labels]
    assert labels
    assert all(isinstance(label, Label) and label.source is LabelSource.ORACLE for label in labels)
    assert all(r.flags and r.predicted for r in requests)
    assert learned.jobs[recipe.name].phase is Phase.PUBLISHED
    states = [v.state for v in learned.known(recipe.name)]
    assert states.count(VersionState.CURRENT) == 1
