"""One round: a real Kafka, real processes, a load, a schedule of faults, and the verdict."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer

from streams.broker import EmbeddedKafka
from streams.core.plan import Plan, StageKind
from streams.runtime.topics import ensure_topics, topics_of
from streams.settings import KafkaSettings, PipelineSettings
from tests.chaos import pipelines
from tests.chaos.checker import Asked, Verdict, check
from tests.chaos.fleet import Fleet
from tests.chaos.schedule import Fault, draw
from tests.chaos.watch import AnswerWatch, EpochWatch
from tests.chaos.wire import read_topics

PARTITIONS: Final = 2
LANES: Final = 2
INSTANCES: Final = 2

READY_SECONDS_MAX: Final = 120.0
PATIENCE_SECONDS: Final = 90.0
"""After the last fault: no answer for this long, and what is open counts as lost."""

REPEATED_EVERY: Final = 12
"""Each so many-th request is sent a second time under its id."""
FAILING_EVERY: Final = 15

PROMPTS: Final = f"models.{pipelines.MODEL}.prompts"

SETTINGS: Final = PipelineSettings(
    partitions=PARTITIONS,
    lanes=LANES,
    deadline_seconds=3_600,  # nothing may be saved by its deadline
)


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    requests: int
    seconds: float
    """How long requests and faults go on."""
    every: float
    """Seconds between faults, on average."""
    pipelines: tuple[str, ...] = ("generated", "reviewed")
    splits: bool = False
    """Stages in two processes, so that half of them can die; without it fewer processes."""


@dataclass(slots=True)
class Result:
    options: Options
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    replaced: list[float] = field(default_factory=list)
    stop_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    history: Path | None = None

    @property
    def is_good(self) -> bool:
        return not self.faults and all(v.is_good for v in self.verdicts.values())

    def as_json(self) -> dict[str, Any]:
        found = self.verdicts.values()
        return {
            "requests": sum(v.requests for v in found),
            "answered": sum(v.answered for v in found),
            "lost": sum(len(v.lost) for v in found),
            "duplicated": sum(len(v.duplicated) for v in found),
            "mixed": sum(len(v.mixed) for v in found),
            "errors": sum(v.errors for v in found),
            "unasked_errors": sum(len(v.unasked) for v in found),
            "faults": len(self.faults) + sum(len(v.faults) for v in found),
            **self.counts,
            "replaced_seconds_p50": round(statistics.median(self.replaced), 2) if self.replaced else None,
            "replaced_seconds_max": round(max(self.replaced), 2) if self.replaced else None,
            "stop_seconds_max": round(max(self.stop_seconds, default=0.0), 2),
            "seconds": round(self.seconds, 1),
            "history": str(self.history) if self.history else None,
            "seed": self.options.seed,
        }


class Round:
    def __init__(self, options: Options, kafka: EmbeddedKafka, folder: Path, say: Callable[[str], None]) -> None:
        self._options = options
        self._kafka = kafka
        self._say = say
        self._plans: dict[str, Plan] = {name: getattr(pipelines, name).plan for name in options.pipelines}
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "DESCANT_CHAOS_SEED": str(options.seed),
            "DESCANT_PARTITIONS": str(PARTITIONS),
            "DESCANT_LANES": str(LANES),
            "DESCANT_DEADLINE_SECONDS": str(SETTINGS.deadline_seconds),
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",
        }
        self._fleet = Fleet(folder, environment)
        self._asked: dict[str, dict[str, Asked]] = {name: {} for name in self._plans}
        self._counts = {"kills": 0, "pauses": 0, "stops": 0, "broker_restarts": 0, "broker_pauses": 0}
        self._kills: list[tuple[str, float]] = []
        self._broker: threading.Thread | None = None
        self._broken: BaseException | None = None
        for name, plan in self._plans.items():
            self._crew(name, plan)
        self._schedule = draw(options.seed, list(self._fleet.members), options.seconds, options.every)

    def _crew(self, name: str, plan: Plan) -> None:
        stages = [stage.name for stage in plan.stages]
        crews = {"stages": ["ingress", *stages], "closer": ["closer"]}
        if self._options.splits:
            half = (len(stages) + 1) // 2
            crews = {"front": ["ingress", *stages[:half]], "back": stages[half:], "closer": ["closer"]}
        for number in range(1, INSTANCES + 1):
            for crew, roles in crews.items():
                flags = [part for role in roles for part in ("--stage", role)]
                self._fleet.add(
                    f"{name}-{crew}-{number}",
                    ["run", f"tests.chaos.pipelines:{name}", *flags, "--json"],
                    [f"{plan.pipeline}.{role}" for role in roles],
                )
            if any(stage.kind is StageKind.MODEL for stage in plan.stages):
                sets = {"salt": '"run"', "step_seconds": "0.02", "end_probability": "0.03"}
                flags = [part for item in sets.items() for part in ("--set", "=".join(item))]
                self._fleet.add(
                    f"worker-{number}",
                    ["worker", "--engine", "simulated", "--model", pipelines.MODEL, *flags, "--json"],
                    [f"models.{pipelines.MODEL}.workers"],
                )

    def _homes(self) -> dict[str, str]:
        """Consumer group -> the first by name of the topics that it reads."""
        found = {}
        for plan in self._plans.values():
            found[f"{plan.pipeline}.ingress"] = plan.topic("requests")
            found[f"{plan.pipeline}.closer"] = plan.topic(min("accepted", plan.answer))
            found |= {f"{plan.pipeline}.{stage.name}": plan.topic(stage.sources[0]) for stage in plan.stages}
            if any(stage.kind is StageKind.MODEL for stage in plan.stages):
                found[f"models.{pipelines.MODEL}.workers"] = PROMPTS
        return found

    # -- the course of it ------------------------------------------------------------------------------------------

    def run(self) -> Result:
        began = time.monotonic()
        self._say(f"seed {self._options.seed}: {', '.join(p.pipeline for p in self._plans.values())}")
        for fault in self._schedule:
            self._say(str(fault))
        for plan in self._plans.values():
            ensure_topics(KafkaSettings(bootstrap=self._kafka.bootstrap), topics_of(plan, SETTINGS).values())
        topics = [plan.topic("answers") for plan in self._plans.values()]
        answers = AnswerWatch(self._kafka.bootstrap, topics, PARTITIONS)
        epochs = EpochWatch(self._kafka.bootstrap, self._homes(), PARTITIONS)
        producer = Producer({"bootstrap.servers": self._kafka.bootstrap, "enable.idempotence": True, "log_level": 0})
        try:
            if self._until("all are ready", lambda: not self._fleet.not_ready(), answers, READY_SECONDS_MAX):
                self._load(answers, producer)
                self._settle(answers, producer)
            self._fleet.note("the fleet is told to end")
            self._fleet.end()
        finally:
            self._fleet.close()
            epochs.close()
            answers.close()
        return self._judge(epochs, time.monotonic() - began)

    def _until(self, what: str, is_so: Callable[[], bool], answers: AnswerWatch, seconds_max: float) -> bool:
        ends_at = time.monotonic() + seconds_max
        while not is_so():
            if time.monotonic() > ends_at:
                self._fleet.faults.append(f"not {what} after {seconds_max} s: {self._fleet.not_ready()}")
                return False
            self._fleet.tick()
            answers.poll(0.05)
        return True

    def _load(self, answers: AnswerWatch, producer: Producer) -> None:
        """Requests at an even pace and faults as they are due, until both are used up."""
        self._fleet.note("the load begins")
        began = time.monotonic()
        pace = self._options.seconds / self._options.requests
        faults = list(self._schedule)
        sent = 0
        while faults or sent < self._options.requests:
            at = time.monotonic() - began
            while sent < self._options.requests and sent * pace <= at:
                self._send(sent, producer)
                sent += 1
            while faults and faults[0].at <= at:
                self._inflict(faults.pop(0))
            producer.poll(0)
            self._fleet.tick()
            answers.poll(0.02)
            if self._broken is not None:
                raise self._broken

    def _send(self, number: int, producer: Producer) -> None:
        names = list(self._plans)
        name = names[number % len(names)]
        request_id = f"{name[0]}{number:05d}"
        asked = Asked(request_id, fails=number % FAILING_EVERY == FAILING_EVERY - 1)
        self._asked[name][request_id] = asked
        value = json.dumps({"n": number, "fails": asked.fails}).encode()
        topic = self._plans[name].topic("requests")
        producer.produce(topic, value, request_id)
        if number % REPEATED_EVERY == 0:
            producer.produce(topic, value, request_id)

    def _inflict(self, fault: Fault) -> None:
        match fault.what:
            case "kill":
                if self._fleet.kill(fault.target, fault.lasts):
                    self._counts["kills"] += 1
                    self._kills.append((fault.target, time.monotonic()))
            case "pause":
                self._counts["pauses"] += self._fleet.pause(fault.target, fault.lasts)
            case "stop":
                self._counts["stops"] += self._fleet.stop(fault.target, fault.lasts)
            case _:
                if self._broker is None or not self._broker.is_alive():
                    self._broker = threading.Thread(target=self._break_broker, args=(fault,))
                    self._broker.start()

    def _break_broker(self, fault: Fault) -> None:
        try:
            self._break(fault)
        except BaseException as error:  # noqa: BLE001 — a thread's error reaches nobody by itself
            self._broken = error

    def _break(self, fault: Fault) -> None:
        self._fleet.note(f"{fault.what} for {fault.lasts:.2f} s")
        if fault.what == "broker-pause":
            self._counts["broker_pauses"] += 1
            self._kafka.pause()
            time.sleep(fault.lasts)
            self._kafka.resume()
        else:
            self._counts["broker_restarts"] += 1
            self._kafka.kill()
            time.sleep(fault.lasts)
            self._kafka.restart()
        self._fleet.note("the broker is back")

    def _settle(self, answers: AnswerWatch, producer: Producer) -> None:
        """Nothing goes wrong any more: everything must be answered, and nothing be left open."""
        self._fleet.note("the faults are over")
        if self._broker is not None:
            while self._broker.is_alive():
                self._fleet.tick()
                self._broker.join(0.05)
        if self._broken is not None:
            raise self._broken
        producer.flush(60)
        wanted = {(self._plans[n].topic("answers"), i) for n, asked in self._asked.items() for i in asked}
        quiet_since = time.monotonic()
        told = False
        while not wanted <= answers.answered:
            quiet_since = max(quiet_since, answers.last_at)
            if not told and time.monotonic() - quiet_since > PATIENCE_SECONDS / 3:
                self._fleet.tell_stacks()
                told = True
            if time.monotonic() - quiet_since > PATIENCE_SECONDS:
                self._fleet.note(f"given up: {sorted(i for _, i in wanted - answers.answered)}")
                return
            self._fleet.tick()
            answers.poll(0.05)
        self._fleet.note("all is answered")
        self._until("every accepted record is closed", self._all_closed, answers, 30.0)

    def _all_closed(self) -> bool:
        for plan in self._plans.values():
            accepted, control = plan.topic("accepted"), plan.topic("control")
            found = read_topics(self._kafka.bootstrap, [accepted, control])
            closed = {(rec.partition, rec.body()["offset"]) for rec in found[control]}
            if any((rec.partition, rec.offset) not in closed for rec in found[accepted]):
                return False
        return True

    # -- the verdict -----------------------------------------------------------------------------------------------

    def _judge(self, epochs: EpochWatch, seconds: float) -> Result:
        result = Result(self._options, seconds=seconds, stop_seconds=self._fleet.stop_seconds)
        for name, plan in self._plans.items():
            result.verdicts[name] = check(self._kafka.bootstrap, plan, PROMPTS, self._asked[name])
        result.faults = [*self._fleet.faults, *epochs.faults]
        result.counts = {
            **self._counts,
            "rebalances": len(epochs.takeovers),
            "peak_rss_mb": max(member.peak_rss_mb for member in self._fleet.members.values()),
        }
        for name, at in self._kills:
            times = [epochs.first_after(group, at) for group in self._fleet.members[name].groups]
            result.replaced += (
                [max(t for t in times if t is not None and t < 20)]
                if any(t is not None and t < 20 for t in times)
                else []
            )
        if not result.is_good:
            result.history = self._write_history(result, epochs)
        return result

    def _write_history(self, result: Result, epochs: EpochWatch) -> Path:
        path = Path(tempfile.gettempdir()) / f"descant-chaos-{self._options.seed}.txt"
        lines = [json.dumps(result.as_json()), "", *map(str, self._schedule), "", *self._fleet.events, ""]
        lines += [
            f"{at - self._fleet.began:8.2f} s  {group} {partition} taken over, epoch {epoch}"
            for at, group, partition, epoch in epochs.takeovers
        ]
        lines += ["", *result.faults]
        for name, verdict in result.verdicts.items():
            for what in ("lost", "duplicated", "mixed", "unasked", "faults"):
                lines += [f"{name} {what}: {line}" for line in getattr(verdict, what)]
            for request_id, records in verdict.stories.items():
                lines += ["", f"-- {name} {request_id}"]
                lines += [str(rec) for rec in sorted(records, key=lambda rec: (rec.at_ms, rec.topic, rec.offset))]
        path.write_text("\n".join(lines) + "\n")
        return path


def run_round(options: Options, say: Callable[[str], None]) -> Result:
    """Play one round; the processes' own output stays in a folder beside the history when something is wrong."""
    folder = Path(tempfile.mkdtemp(prefix=f"descant-chaos-{options.seed}-"))
    with EmbeddedKafka() as kafka:
        result = Round(options, kafka, folder, say).run()
        for log in kafka.log_path.parent.glob(f"{kafka.log_path.name}*"):
            shutil.copy(log, folder)
    if result.is_good:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    else:
        say(f"what the processes said: {folder}")
    return result
