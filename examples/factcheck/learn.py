"""`descant demo --learn`: a verifier that has seen nothing but populations learns from what its assertions flag.

Rounds of: questions → flags → label requests that a bandit chooses → labels → a version behind a gate → the running
stage judges with it. All of it over a real Kafka, by the same processes that a user would start. The labels come from
the fact tables and are marked as an oracle's.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from examples.factcheck.classroom import Classroom, Standing
from examples.factcheck.corpus import is_held_out
from examples.factcheck.curves import Traffic, curves
from examples.factcheck.display import Display
from examples.factcheck.models import Question, Report
from examples.factcheck.oracle import truth
from examples.factcheck.processes import (
    Command,
    Processes,
    assertions_command,
    learn_command,
    pipeline_command,
    unless_a_child_ends,
)
from examples.factcheck.recipe import ASSERTIONS, known, of_record, verifier
from examples.factcheck.tables import countries
from learning.artefacts import FolderStore
from learning.choosing import Choosing
from learning.records import Interval, ModelVersion
from learning.training import Recipe
from learning.trigger import TriggerPolicy
from streams.client import Client
from streams.settings import KafkaSettings

RECIPE: Final = "examples.factcheck.learn:taught"
WATCH: Final = "examples.factcheck.watch"
START_CLAIMS: Final = Path(__file__).with_name("population_claims.csv")
"""16 claims about populations in Europe: what the verifier starts from has never seen a name."""

BUDGET: Final = 8
"""Labels of a round."""
QUESTIONS: Final = 6
"""Of a round; an answer has about six claims."""
CONCURRENCY: Final = 2
"""Questions under way at once: as many as there are workers."""
QUIET_SECONDS: Final = 6.0
"""After the last flag of a round its label requests are chosen."""
SEEDS: Final = 10
"""Of each replayed selector."""


def _choosing() -> Choosing:
    assert verifier.choosing is not None  # noqa: S101 the recipe's
    return replace(verifier.choosing, budget=BUDGET, points_min=10_000, quiet_seconds=QUIET_SECONDS)


taught: Final[Recipe] = replace(
    verifier,
    start=lambda: known(START_CLAIMS),
    choosing=_choosing(),
    # Labels of a round come in one transaction, so that each round is one job.
    trigger=TriggerPolicy(new_labels=1, cool_down_seconds=0),
)


@dataclass
class Course:
    """One run of the demo."""

    standings: list[Standing] = field(default_factory=list)
    rounds: list[list[JsonValue]] = field(default_factory=list)
    """Verdicts that were given, a list a round, as examples."""
    flagged: list[dict[str, float]] = field(default_factory=list)
    """By assertion, the share of a round's verdicts that it flags, by the verifier that gave them."""
    fires: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The same of all verdicts of all rounds, judged again by the first version and by the last."""
    curves: dict[str, list[Interval]] = field(default_factory=dict)


async def learn(display: Display, servers: str, *, pipeline: str, workers: Sequence[Command], rounds: int) -> Course:
    """The whole demo. Raises what keeps a step from coming to its end; nothing it started is left running."""
    from examples.factcheck.pipeline import factcheck  # noqa: PLC0415 (it reads the model's name when it is imported)

    kafka = KafkaSettings(bootstrap=servers)
    names = _countries((rounds + 1) * QUESTIONS)
    course = Course()
    with tempfile.TemporaryDirectory(prefix="descant-artefacts-") as folder:
        os.environ["DESCANT_ARTEFACTS"] = folder  # read by the children: one folder for the job and the stage
        classroom = await asyncio.to_thread(Classroom, kafka, FolderStore(Path(folder)), taught)
        try:
            await classroom.refuse_used()
            commands = [
                *workers,
                pipeline_command(pipeline, servers),
                assertions_command(WATCH, servers),
                learn_command("choose", RECIPE, servers),
                learn_command("run", RECIPE, servers),
            ]
            async with Processes() as children:
                with display.waiting("starting workers, stages, assertions, chooser and retraining job") as say:
                    await children.start(commands, lambda name, done, of: say(f"{name} is ready ({done} of {of})"))
                async with Client(factcheck, kafka) as client:
                    await unless_a_child_ends(_course(display, classroom, client, course, names, rounds), children)
        finally:
            classroom.close()
    return course


async def _course(
    display: Display, classroom: Classroom, client: Client, course: Course, names: Sequence[str], rounds: int
) -> None:
    with display.waiting("training the first version, on 16 claims about populations"):
        await classroom.first_version()
    first = classroom.current
    assert first is not None  # noqa: S101 it was just promoted
    course.standings.append(classroom.standing())
    for number in range(rounds + 1):
        asked = names[number * QUESTIONS : (number + 1) * QUESTIONS]
        with display.waiting(f"round {number + 1}: asking about {', '.join(asked)}"):
            given = await _ask(client, asked)
        course.rounds.append([example for report in given for example in _examples(report)])
        course.flagged.append(_rates(given))
        if number < rounds:
            with display.waiting(f"round {number + 1}: choosing among the flagged claims, labelling, retraining"):
                await classroom.learn_from_flags(number + 1)
            course.standings.append(classroom.standing())
            _tell(display, course.standings[-1])
    last = classroom.current
    assert last is not None  # noqa: S101 one is current since the start
    everything = [example for examples in course.rounds for example in examples]
    course.fires = {
        name: (before, after)
        for (name, before), after in zip(
            _replayed(classroom, first, everything).items(),
            _replayed(classroom, last, everything).values(),
            strict=True,
        )
    }
    with display.waiting("replaying the same traffic with other selectors"):
        course.curves = await asyncio.to_thread(_curves, course.rounds[:rounds])


async def _ask(client: Client, names: Sequence[str]) -> list[Report]:
    free = asyncio.Semaphore(CONCURRENCY)

    async def one(name: str) -> Report:
        async with free:
            report = await client.ask(Question(text=f"Tell me about {name}."))
            assert isinstance(report, Report)  # noqa: S101 the pipeline's answer
            return report

    return list(await asyncio.gather(*(one(name) for name in names)))


def _examples(report: Report) -> list[JsonValue]:
    found = (of_record(verdict.model_dump(mode="json")) for verdict in report.verdicts)
    return [example for example in found if example is not None]


def _rates(reports: Sequence[Report]) -> dict[str, float]:
    """By assertion, the share of verdicts that it flags."""
    said = [(e, v.label) for r in reports for v in r.verdicts if (e := of_record(v.model_dump(mode="json")))]
    return {name: sum(check(e, s) > 0 for e, s in said) / max(1, len(said)) for name, check in ASSERTIONS.items()}


def _replayed(classroom: Classroom, version: ModelVersion, examples: Sequence[JsonValue]) -> dict[str, float]:
    said = taught.trainer.load(classroom.store.get(version.artefact)).predict(examples)
    return {
        name: sum(check(e, s) > 0 for e, s in zip(examples, said, strict=True)) / max(1, len(examples))
        for name, check in ASSERTIONS.items()
    }


def _curves(rounds: Sequence[Sequence[JsonValue]], seeds: int = SEEDS) -> dict[str, list[Interval]]:
    judged = [[(e, value) for e in examples if (value := truth(e)) is not None] for examples in rounds]
    traffic = Traffic([[e for e, _ in part] for part in judged], [[v for _, v in part] for part in judged])
    return curves(traffic, START_CLAIMS, BUDGET, seeds)


def _countries(count: int) -> list[str]:
    """The largest of those whose claims may be trained on."""
    free = [c for c in countries().values() if not is_held_out(c.code) and "population" in c.facts]
    return [c.name for c in sorted(free, key=lambda c: -float(c.facts["population"][0]))[:count]]


def _tell(display: Display, standing: Standing) -> None:
    display.console.print(
        f"{standing.labels:3} labels: version {standing.version} is {standing.state} ({standing.reasons}); "
        f"{standing.accuracy.value:.1%} of the exam's claims are right",
        markup=False, soft_wrap=True,
    )  # fmt: skip
