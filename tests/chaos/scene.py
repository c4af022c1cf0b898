"""Pipelines on a real Kafka, the processes that serve them, a load, and what can be seen from outside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

from streams.core.plan import Plan, StageKind
from streams.runtime.topics import ensure_topics, topics_of
from streams.settings import KafkaSettings, PipelineSettings
from tests.chaos import pipelines
from tests.chaos.checker import Asked, Verdict, check
from tests.chaos.fleet import DESCANT, Fleet
from tests.chaos.watch import AnswerWatch, EpochWatch
from tests.chaos.wire import read_topics

READY_SECONDS_MAX: Final = 180.0
PATIENCE_SECONDS: Final = 90.0
"""After the last fault: no answer for this long, and what is open counts as lost."""

REPEATED_EVERY: Final = 12
"""Each so many-th request is sent a second time under its id."""
FAILING_EVERY: Final = 15

PROMPTS: Final = f"models.{pipelines.MODEL}.prompts"
WORKERS: Final = f"models.{pipelines.MODEL}.workers"

DEADLINE_SECONDS: Final = 3_600
"""Nothing may be saved by its deadline."""

ENGINE: Final[Mapping[str, str]] = {"salt": '"run"', "step_seconds": "0.02", "end_probability": "0.03"}
"""Of the simulated model: texts that take a second, and are others in each process."""


@dataclass(frozen=True, slots=True)
class Size:
    partitions: int = 2
    lanes: int = 2
    replication: int = 1

    @property
    def settings(self) -> PipelineSettings:
        return PipelineSettings(
            partitions=self.partitions,
            lanes=self.lanes,
            replication=self.replication,
            deadline_seconds=DEADLINE_SECONDS,
        )


def groups_of(plan: Plan, roles: Sequence[str]) -> list[str]:
    return [f"{plan.pipeline}.{role}" for role in roles]


class Scene:
    """`with Scene(...) as scene:`; the processes are added to `scene.fleet` before `begin`."""

    def __init__(
        self,
        bootstrap: str,
        folder: Path,
        plans: Mapping[str, Plan],
        size: Size,
        environment: Mapping[str, str],
    ) -> None:
        """`plans`: by the name of the pipeline in tests.chaos.pipelines."""
        self.bootstrap: Final = bootstrap
        self.plans: Final = plans
        self._size: Final = size
        self.fleet: Final = Fleet(
            folder,
            {
                "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
                "DESCANT_PARTITIONS": str(size.partitions),
                "DESCANT_LANES": str(size.lanes),
                "DESCANT_REPLICATION": str(size.replication),
                "DESCANT_DEADLINE_SECONDS": str(DEADLINE_SECONDS),
                "PYTHONUNBUFFERED": "1",
                "PYTHONFAULTHANDLER": "1",
                **environment,
            },
        )
        self.asked: Final[dict[str, dict[str, Asked]]] = {name: {} for name in plans}
        self.sent_at: Final[dict[tuple[str, str], float]] = {}
        """(answers topic, id) -> monotonic"""
        for plan in plans.values():
            ensure_topics(KafkaSettings(bootstrap=bootstrap), topics_of(plan, size.settings).values())
        topics = [plan.topic("answers") for plan in plans.values()]
        self.answers: Final = AnswerWatch(bootstrap, topics, size.partitions)
        self.epochs: Final = EpochWatch(bootstrap, self._homes(), size.partitions)
        self.producer: Final = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0})

    def _homes(self) -> dict[str, str]:
        """Consumer group -> the first by name of the topics that it reads."""
        found = {}
        for plan in self.plans.values():
            found[f"{plan.pipeline}.ingress"] = plan.topic("requests")
            found[f"{plan.pipeline}.closer"] = plan.topic(min("accepted", plan.answer))
            found |= {f"{plan.pipeline}.{stage.name}": plan.topic(stage.sources[0]) for stage in plan.stages}
            if has_model(plan):
                found[WORKERS] = PROMPTS
        return found

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.fleet.close()
        self.epochs.close()
        self.answers.close()

    # -- who serves ------------------------------------------------------------------------------------------------

    def add_crew(self, member: str, name: str, roles: Sequence[str]) -> None:
        """A process with some roles of a pipeline."""
        flags = [part for role in roles for part in ("--stage", role)]
        arguments = ["run", f"{pipelines.__name__}:{name}", *flags, "--json"]
        self.fleet.add(member, arguments, groups_of(self.plans[name], roles))

    def add_worker(
        self,
        member: str,
        sets: Mapping[str, str] = ENGINE,
        *,
        engine: str = "simulated",
        module: str = DESCANT,
    ) -> None:
        """A process with a model."""
        flags = [part for item in sets.items() for part in ("--set", "=".join(item))]
        arguments = ["worker", "--engine", engine, "--model", pipelines.MODEL, *flags, "--json"]
        self.fleet.add(member, arguments, [WORKERS], module)

    # -- the course of it ------------------------------------------------------------------------------------------

    def begin(self) -> bool:
        return self.until("all are ready", lambda: not self.fleet.not_ready(), READY_SECONDS_MAX)

    def tick(self, seconds: float = 0.02) -> None:
        self.producer.poll(0)
        self.fleet.tick()
        self.answers.poll(seconds)

    def until(self, what: str, is_so: Callable[[], bool], seconds_max: float) -> bool:
        ends_at = time.monotonic() + seconds_max
        while not is_so():
            if time.monotonic() > ends_at:
                self.fleet.faults.append(f"not so after {seconds_max} s: {what} (not ready: {self.fleet.not_ready()})")
                return False
            self.tick()
        return True

    def send(self, number: int, *, may_fail: bool = True) -> None:
        names = list(self.plans)
        name = names[number % len(names)]
        request_id = f"{name[0]}{number:06d}"
        asked = Asked(request_id, fails=may_fail and number % FAILING_EVERY == FAILING_EVERY - 1)
        self.asked[name][request_id] = asked
        value = json.dumps({"n": number, "fails": asked.fails}).encode()
        topic = self.plans[name].topic("requests")
        self._produce(topic, value, request_id)
        self.sent_at[self.plans[name].topic("answers"), request_id] = time.monotonic()
        if number % REPEATED_EVERY == 0:
            self._produce(topic, value, request_id)

    def _produce(self, topic: str, value: bytes, key: str) -> None:
        while True:
            try:
                self.producer.produce(topic, value, key)
            except BufferError:
                self.producer.poll(0.1)
            else:
                return

    @property
    def wanted(self) -> set[tuple[str, str]]:
        return set(self.sent_at)

    def settle(self) -> bool:
        """Nothing goes wrong any more: everything must be answered, and nothing be left open."""
        self.producer.flush(60)
        wanted = self.wanted
        quiet_since = time.monotonic()
        told = False
        while not wanted <= self.answers.answered.keys():
            quiet_since = max(quiet_since, self.answers.last_at)
            quiet = time.monotonic() - quiet_since
            if not told and quiet > PATIENCE_SECONDS / 3:
                self.fleet.tell_stacks()
                told = True
            if quiet > PATIENCE_SECONDS:
                self.fleet.note(f"given up: {sorted(i for _, i in wanted - self.answers.answered.keys())}")
                return False
            self.tick(0.05)
        self.fleet.note("all is answered")
        return self.until("every accepted record is closed", self._all_closed, 60.0)

    def _all_closed(self) -> bool:
        for plan in self.plans.values():
            accepted, control = plan.topic("accepted"), plan.topic("control")
            found = read_topics(self.bootstrap, [accepted, control])
            closed = {(rec.partition, rec.body()["offset"]) for rec in found[control]}
            if any((rec.partition, rec.offset) not in closed for rec in found[accepted]):
                return False
        return True

    def end(self) -> None:
        self.fleet.note("the fleet is told to end")
        self.fleet.end()

    def judge(self) -> dict[str, Verdict]:
        return {name: check(self.bootstrap, plan, PROMPTS, self.asked[name]) for name, plan in self.plans.items()}

    def latencies(self) -> list[float]:
        """Seconds from the request to its answer as it was seen here, in the order of the requests."""
        seen = self.answers.answered
        return [seen[place] - at for place, at in self.sent_at.items() if place in seen]


def has_model(plan: Plan) -> bool:
    return any(stage.kind is StageKind.MODEL for stage in plan.stages)


def summed(verdicts: Mapping[str, Verdict]) -> dict[str, int]:
    """What the JSON line says of them."""
    found = verdicts.values()
    return {
        "requests": sum(v.requests for v in found),
        "answered": sum(v.answered for v in found),
        "lost": sum(len(v.lost) for v in found),
        "duplicated": sum(len(v.duplicated) for v in found),
        "mixed": sum(len(v.mixed) for v in found),
        "errors": sum(v.errors for v in found),
        "unasked_errors": sum(len(v.unasked) for v in found),
    }
