"""What operators do, and what happens to them."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import Final

from streams.runtime.process import roles_of
from tests.chaos.drills.drill import CALM_SECONDS, Drill
from tests.chaos.scene import Scene
from tests.chaos.wire import read_topics

NAME: Final = "reviewed"

STEP_SECONDS: Final = 2.0
"""Between two processes of one act."""

REPLACED_SECONDS_MAX: Final = 10.0

BROKER_SILENT_SECONDS: Final = 30.0


# -- scale ------------------------------------------------------------------------------------------------------------


def scale_crew(scene: Scene) -> None:
    scene.add_crew("instance-1", NAME, roles_of(scene.plans[NAME]))
    scene.add_worker("worker-1")


def scale(drill: Drill) -> None:
    scene, fleet = drill.scene, drill.fleet
    drill.go_on(CALM_SECONDS)
    drill.act("one instance of each stage, one worker")
    drill.go_on(CALM_SECONDS)
    for number in (2, 3, 4):
        drill.act(f"instance {number} is added")
        scene.add_crew(f"instance-{number}", NAME, roles_of(scene.plans[NAME]))
        drill.all_ready()
        drill.go_on(STEP_SECONDS)
    for number in (2, 3):
        drill.act(f"worker {number} is added")
        scene.add_worker(f"worker-{number}")
        drill.all_ready()
        drill.go_on(STEP_SECONDS)
    drill.go_on(CALM_SECONDS)
    for name in ("instance-4", "worker-3", "instance-1", "worker-1", "instance-3"):  # the oldest too: any may go
        drill.act(f"{name} is told to end")
        fleet.stop(name, None)
        drill.until(f"{name} has ended", lambda name=name: not fleet.members[name].is_up)  # type: ignore[misc]
        drill.go_on(STEP_SECONDS)
    drill.go_on(CALM_SECONDS)
    drill.act("one instance of each stage, one worker")
    drill.found["stop_seconds_max"] = round(max(fleet.stop_seconds), 2)


# -- roll -------------------------------------------------------------------------------------------------------------


def pairs(scene: Scene) -> None:
    plan = scene.plans[NAME]
    stages = [stage.name for stage in plan.stages]
    for number in (1, 2):
        scene.add_crew(f"ingress-{number}", NAME, ["ingress"])
        scene.add_crew(f"stages-{number}", NAME, [name for name in stages if name != "report"])
        scene.add_crew(f"report-{number}", NAME, ["report"])
        scene.add_crew(f"closer-{number}", NAME, ["closer"])
        scene.add_worker(f"worker-{number}")


def roll(drill: Drill) -> None:
    fleet = drill.fleet
    drill.go_on(CALM_SECONDS)
    for name in list(fleet.members):
        if name.startswith("report"):
            fleet.members[name].environment["DESCANT_CHAOS_VERSION"] = "2"
        drill.act(f"{name} is restarted")
        life = fleet.members[name].lives
        fleet.stop(name, 0.0)
        drill.until(f"{name} has a new life", lambda name=name, life=life: fleet.members[name].lives > life)  # type: ignore[misc]
        drill.all_ready()
        drill.go_on(STEP_SECONDS)
    drill.go_on(CALM_SECONDS)
    answers = drill.scene.plans[NAME].topic("answers")
    records = read_topics(drill.scene.bootstrap, [answers])[answers]
    versions = Counter(rec.body()["text"] for rec in records if rec.kind == "item")
    drill.found["answers_by_version"] = dict(sorted(versions.items()))
    drill.found["stop_seconds_max"] = round(max(fleet.stop_seconds), 2)
    if set(versions) != {"1", "2"}:
        drill.faults.append(f"answers of versions {sorted(versions)}, where 1 and 2 must be")


# -- replace ----------------------------------------------------------------------------------------------------------


def replace(drill: Drill) -> None:
    scene, fleet = drill.scene, drill.fleet
    seconds: dict[str, list[float]] = {}
    for name in [*fleet.members, *fleet.members]:
        drill.go_on(CALM_SECONDS)
        member = fleet.members[name]
        drill.act(f"{name} is killed")
        at = time.monotonic()
        fleet.kill(name, 0.0)
        drill.until(
            f"{name} has been replaced",
            lambda at=at, member=member: all(  # type: ignore[misc]
                scene.epochs.first_after(group, at) is not None for group in member.groups
            ),
        )
        found = [scene.epochs.first_after(group, at) for group in member.groups]
        seconds.setdefault(name.partition("-")[0], []).append(max((s for s in found if s is not None), default=999.0))
        drill.all_ready()
    every = [s for found in seconds.values() for s in found]
    drill.found |= {
        "kills": len(every),
        "replaced_seconds_p50": round(statistics.median(every), 2),
        "replaced_seconds_max": round(max(every), 2),
        "replaced_seconds": {name: [round(s, 2) for s in found] for name, found in seconds.items()},
    }
    if max(every) > REPLACED_SECONDS_MAX:
        drill.faults.append(f"a killed process was replaced after {max(every):.1f} s")


# -- broker -----------------------------------------------------------------------------------------------------------


def broker(drill: Drill) -> None:
    fleet, kafka = drill.fleet, drill.kafka
    drill.go_on(CALM_SECONDS)

    def restart() -> None:
        kafka.restart()

    def slow() -> None:
        kafka.pause()
        wait(BROKER_SILENT_SECONDS)
        kafka.resume()

    def away() -> None:
        kafka.stop()
        wait(BROKER_SILENT_SECONDS)
        kafka.start()

    def wait(seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            drill.turn()

    recovered = {}
    for what, do in (("restarted", restart), ("silent for 30 s", slow), ("away for 30 s", away)):
        drill.act(f"the broker is {what}")
        do()
        at = time.monotonic()
        drill.answers_flow()
        recovered[what] = round(time.monotonic() - at, 2)
        drill.act("answers flow again")
        drill.go_on(CALM_SECONDS)
    drill.found["answered_again_seconds"] = recovered
    ended = [member.name for member in fleet.members.values() if member.lives != 1]
    drill.found["processes_that_ended"] = ended
