"""One round: a real Kafka, real processes, a load, a schedule of faults, and the verdict."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streams.broker import EmbeddedKafka
from tests.chaos import pipelines
from tests.chaos.checker import Verdict
from tests.chaos.relay import Relay
from tests.chaos.scene import Scene, Size, has_model, summed
from tests.chaos.schedule import Fault, draw

INSTANCES: Final = 2

REPLACED_SECONDS_MAX: Final = 20.0
"""A takeover later than this after a kill has another cause."""

TOLD_SECONDS: Final = 20.0
"""Between two lines about the course of a long round."""

SMALL_QUEUE_RECORDS: Final = 50

NETWORK_DELAY_SECONDS: Final = 0.15
"""Each way: a request and its answer take 0.3 s longer, as to another continent and back."""


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
    broker_kills: bool = False
    """The broker is killed where it would be restarted in order."""
    at_least: Mapping[str, int] = field(default_factory=dict)
    """Kind of fault -> how many there must be."""
    network: bool = False
    """A relay between the processes and the broker, which delays and resets their connections."""
    small_queues: bool = False
    """Producers whose queues are full after a few records."""


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
        return {
            **summed(self.verdicts),
            "faults": len(self.faults) + sum(len(v.faults) for v in self.verdicts.values()),
            **self.counts,
            "replaced_seconds_p50": round(statistics.median(self.replaced), 2) if self.replaced else None,
            "replaced_seconds_max": round(max(self.replaced), 2) if self.replaced else None,
            "stop_seconds_max": round(max(self.stop_seconds, default=0.0), 2),
            "seconds": round(self.seconds, 1),
            "history": str(self.history) if self.history else None,
            "seed": self.options.seed,
        }


class Round:
    def __init__(
        self, options: Options, kafka: EmbeddedKafka, relay: Relay | None, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._options = options
        self._kafka = kafka
        self._relay = relay
        self._say = say
        environment = {"DESCANT_CHAOS_SEED": str(options.seed)}
        if options.small_queues:
            environment["DESCANT_KAFKA_PRODUCER_RECORDS"] = str(SMALL_QUEUE_RECORDS)
        plans = {name: getattr(pipelines, name).plan for name in options.pipelines}
        bootstrap = kafka.bootstrap if relay is None else f"127.0.0.1:{relay.port}"
        self._scene = Scene(bootstrap, folder, plans, Size(), environment)
        self._counts = {
            "kills": 0,
            "pauses": 0,
            "stops": 0,
            "broker_restarts": 0,
            "broker_pauses": 0,
            "network_delays": 0,
            "network_cuts": 0,
        }
        self._kills: list[tuple[str, float]] = []
        self._broker: threading.Thread | None = None
        self._broken: BaseException | None = None
        for name in plans:
            self._crew(name)
        self._schedule = draw(
            options.seed,
            list(self._scene.fleet.members),
            options.seconds,
            options.every,
            at_least=options.at_least,
            broker_kills=options.broker_kills,
            network=relay is not None,
        )

    def _crew(self, name: str) -> None:
        plan = self._scene.plans[name]
        stages = [stage.name for stage in plan.stages]
        crews = {"stages": ["ingress", *stages], "closer": ["closer"]}
        if self._options.splits:
            half = (len(stages) + 1) // 2
            crews = {"front": ["ingress", *stages[:half]], "back": stages[half:], "closer": ["closer"]}
        for number in range(1, INSTANCES + 1):
            for crew, roles in crews.items():
                self._scene.add_crew(f"{name}-{crew}-{number}", name, roles)
            if has_model(plan):
                self._scene.add_worker(f"worker-{number}")

    # -- the course of it ------------------------------------------------------------------------------------------

    def run(self) -> Result:
        began = time.monotonic()
        self._say(f"seed {self._options.seed}: {', '.join(p.pipeline for p in self._scene.plans.values())}")
        for fault in self._schedule:
            self._say(str(fault))
        with self._scene as scene:
            if scene.begin():
                self._load()
                self._until_broker_is_back()
                scene.settle()
            scene.end()
        return self._judge(time.monotonic() - began)

    def _load(self) -> None:
        """Requests at an even pace and faults as they are due, until both are used up."""
        self._scene.fleet.note("the load begins")
        began = told = time.monotonic()
        pace = self._options.seconds / self._options.requests
        faults = list(self._schedule)
        sent = 0
        while faults or sent < self._options.requests:
            at = time.monotonic() - began
            while sent < self._options.requests and sent * pace <= at:
                self._scene.send(sent)
                sent += 1
            while faults and faults[0].at <= at:
                self._inflict(faults.pop(0))
            self._scene.tick()
            if self._broken is not None:
                raise self._broken
            if time.monotonic() - told > TOLD_SECONDS:
                told = time.monotonic()
                self._say(f"{at:7.0f} s  {sent} sent, {len(self._scene.answers.answered)} answered")

    def _inflict(self, fault: Fault) -> None:
        fleet = self._scene.fleet
        match fault.what:
            case "kill":
                if fleet.kill(fault.target, fault.lasts):
                    self._counts["kills"] += 1
                    self._kills.append((fault.target, time.monotonic()))
            case "pause":
                self._counts["pauses"] += fleet.pause(fault.target, fault.lasts)
            case "stop":
                self._counts["stops"] += fleet.stop(fault.target, fault.lasts)
            case _:
                if self._broker is not None:
                    self._until_broker_is_back()  # a start took longer than the schedule reckoned with
                self._broker = threading.Thread(target=self._break_broker, args=(fault,))
                self._broker.start()

    def _break_broker(self, fault: Fault) -> None:
        try:
            self._break(fault)
        except BaseException as error:  # noqa: BLE001 — a thread's error reaches nobody by itself
            self._broken = error

    def _break(self, fault: Fault) -> None:
        fleet = self._scene.fleet
        fleet.note(f"{fault.what} for {fault.lasts:.2f} s")
        match fault.what:
            case "broker-pause":
                self._counts["broker_pauses"] += 1
                self._kafka.pause()
                time.sleep(fault.lasts)
                self._kafka.resume()
            case "network-delay" if self._relay is not None:
                self._counts["network_delays"] += 1
                self._relay.delay_seconds = NETWORK_DELAY_SECONDS
                time.sleep(fault.lasts)
                self._relay.delay_seconds = 0.0
            case "network-cut" if self._relay is not None:
                self._counts["network_cuts"] += 1
                self._relay.cut(True)
                time.sleep(fault.lasts)
                self._relay.cut(False)
            case _:
                self._counts["broker_restarts"] += 1
                if fault.what == "broker-kill":
                    self._kafka.kill()
                else:
                    self._kafka.stop()
                time.sleep(fault.lasts)
                self._kafka.start()
        fleet.note(f"{fault.what} is over")

    def _until_broker_is_back(self) -> None:
        while self._broker is not None and self._broker.is_alive():
            self._scene.tick()
        if self._broken is not None:
            raise self._broken

    # -- the verdict -----------------------------------------------------------------------------------------------

    def _judge(self, seconds: float) -> Result:
        scene = self._scene
        result = Result(self._options, seconds=seconds, stop_seconds=scene.fleet.stop_seconds)
        began = time.monotonic()
        result.verdicts = scene.judge()
        self._say(f"judged in {time.monotonic() - began:.0f} s")
        result.faults = [*scene.fleet.faults, *scene.epochs.faults]
        result.counts = {
            **self._counts,
            "rebalances": len(scene.epochs.takeovers),
            "peak_rss_mb": max(member.peak_rss_mb for member in scene.fleet.members.values()),
        }
        for name, at in self._kills:
            found = [scene.epochs.first_after(group, at) for group in scene.fleet.members[name].groups]
            times = [seconds for seconds in found if seconds is not None and seconds < REPLACED_SECONDS_MAX]
            if times:
                result.replaced.append(max(times))
        if not result.is_good:
            result.history = self._write_history(result)
        return result

    def _write_history(self, result: Result) -> Path:
        path = Path(tempfile.gettempdir()) / f"descant-chaos-{self._options.seed}.txt"
        fleet, epochs = self._scene.fleet, self._scene.epochs
        lines = [json.dumps(result.as_json()), "", *map(str, self._schedule), "", *fleet.events, ""]
        lines += [
            f"{at - fleet.began:8.2f} s  {group} {partition} taken over, epoch {epoch}"
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
    with ExitStack() as stack:
        relay = None
        if options.network:
            relay = Relay()
            stack.callback(relay.close)
        kafka = stack.enter_context(EmbeddedKafka(advertised_port=relay.port if relay is not None else None))
        if relay is not None:
            relay.target = int(kafka.bootstrap.rpartition(":")[2])
        result = Round(options, kafka, relay, folder, say).run()
        for log in kafka.log_path.parent.glob(f"{kafka.log_path.name}*"):
            shutil.copy(log, folder)
    if result.is_good:
        shutil.rmtree(folder)
    else:
        say(f"what the processes said: {folder}")
    return result
