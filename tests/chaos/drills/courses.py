"""What operators do, and what happens to them."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import Final

from streams.broker import EmbeddedKafka
from streams.runtime.process import roles_of
from tests.chaos.cluster import NOBODY, NODES, Cluster
from tests.chaos.drills.drill import CALM_SECONDS, NAME, Drill
from tests.chaos.scene import Scene
from tests.chaos.wire import read_topics

REPLACED_SECONDS_MAX: Final = 10.0

BROKER_SILENT_SECONDS: Final = 30.0

SECOND_VERSION: Final = {"DESCANT_CHAOS_VERSION": "2"}


def single(scene: Scene) -> None:
    """One instance of every stage, one worker."""
    scene.add_crew("instance-1", NAME, roles_of(scene.plans[NAME]))
    scene.add_worker("worker-1")


def pairs(scene: Scene) -> None:
    """Two of everything."""
    plan = scene.plans[NAME]
    stages = [stage.name for stage in plan.stages]
    for number in (1, 2):
        scene.add_crew(f"ingress-{number}", NAME, ["ingress"])
        scene.add_crew(f"stages-{number}", NAME, [name for name in stages if name != "report"])
        scene.add_crew(f"report-{number}", NAME, ["report"])
        scene.add_crew(f"closer-{number}", NAME, ["closer"])
        scene.add_worker(f"worker-{number}")


# -- scale and roll ---------------------------------------------------------------------------------------------------


def scale(drill: Drill, _: EmbeddedKafka) -> None:
    drill.warm_up()
    for name in ("instance-2", "instance-3", "instance-4", "worker-2", "worker-3"):
        drill.add(name)
    drill.go_on(CALM_SECONDS)
    for name in ("instance-4", "worker-3", "instance-1", "worker-1", "instance-3"):  # the oldest too: any may go
        drill.retire(name)
    drill.go_on(CALM_SECONDS)
    drill.found["stop_seconds_max"] = round(max(drill.fleet.stop_seconds), 2)


def roll(drill: Drill, _: EmbeddedKafka) -> None:
    drill.warm_up()
    for name in list(drill.fleet.members):
        drill.renew(name, **(SECOND_VERSION if name.startswith("report") else {}))
    drill.go_on(CALM_SECONDS)
    _two_versions(drill)


def tour(drill: Drill, kafka: EmbeddedKafka) -> None:
    """A little of everything, for every build."""
    drill.warm_up(TOUR_CALM_SECONDS)
    for name in ("instance-2", "worker-2"):
        drill.add(name)
    drill.renew("instance-1", **SECOND_VERSION)
    _silence_broker(drill, kafka, TOUR_SILENT_SECONDS)
    drill.renew("worker-1")
    for name in ("instance-2", "worker-2"):
        drill.retire(name)
    drill.go_on(TOUR_CALM_SECONDS)
    _two_versions(drill)


TOUR_CALM_SECONDS: Final = 4.0
TOUR_SILENT_SECONDS: Final = 10.0
"""Longer than the session time-outs of members and of the broker: when it wakes up it may think that all are dead, and
be thought dead itself."""


def _two_versions(drill: Drill) -> None:
    answers = drill.scene.plans[NAME].topic("answers")
    records = read_topics(drill.scene.bootstrap, [answers])[answers]
    versions = Counter(rec.body()["text"] for rec in records if rec.kind == "item")
    drill.found["answers_by_version"] = dict(sorted(versions.items()))
    drill.found["stop_seconds_max"] = round(max(drill.fleet.stop_seconds), 2)
    if set(versions) != {"1", "2"}:
        drill.faults.append(f"answers of versions {sorted(versions)}, where 1 and 2 must be")


# -- replace ----------------------------------------------------------------------------------------------------------


def replace(drill: Drill, _: EmbeddedKafka) -> None:
    scene, fleet = drill.scene, drill.fleet
    seconds: dict[str, list[float]] = {}
    drill.warm_up()
    for name in list(fleet.members):
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


def broker(drill: Drill, kafka: EmbeddedKafka) -> None:
    drill.warm_up()
    drill.act("the broker is restarted")
    kafka.restart()
    _recovered(drill, "restart")
    _silence_broker(drill, kafka, BROKER_SILENT_SECONDS)
    drill.act(f"the broker is stopped for {BROKER_SILENT_SECONDS:.0f} s")
    kafka.stop()
    drill.go_on(BROKER_SILENT_SECONDS)
    kafka.start()
    _recovered(drill, "absence")


def _silence_broker(drill: Drill, kafka: EmbeddedKafka, seconds: float) -> None:
    drill.act(f"the broker does not answer for {seconds:.0f} s")
    kafka.pause()
    drill.go_on(seconds)
    kafka.resume()
    _recovered(drill, "silence")


def silences(drill: Drill, kafka: EmbeddedKafka) -> None:
    """Again and again longer than the broker's session: right after it wakes up it says that there is no broker."""
    drill.warm_up()
    for number in range(2, 2 + SILENCES):
        drill.add(f"instance-{number}")
        _silence_broker(drill, kafka, TOUR_SILENT_SECONDS)
        drill.retire(f"instance-{number}")
    drill.go_on(CALM_SECONDS)
    drill.found["started_anew"] = drill.fleet.times_said("starting anew")


SILENCES: Final = 6


def nodes(drill: Drill, cluster: Cluster) -> None:
    """Each partition has three replicas: whichever node is lost, the two others go on."""
    drill.warm_up()
    for node, what, lose in (
        (2, "kill", cluster.kill),
        (3, "silence", cluster.pause),
        (1, "stop", cluster.stop),
    ):
        drill.act(f"node {node}: {what}")
        lose(node)
        _recovered(drill, f"{what}_of_a_node")
        drill.go_on(BROKER_SILENT_SECONDS - CALM_SECONDS)
        if what == "silence":
            cluster.resume(node)
        else:
            cluster.start(node)
        drill.until("all nodes are there", cluster.is_whole, NODE_SECONDS_MAX)
        drill.act("all nodes are there")
        drill.go_on(CALM_SECONDS)


def leaderless(drill: Drill, cluster: Cluster) -> None:
    """Each partition has one replica: those of the node that is lost have no leader until it is back."""
    drill.warm_up()
    accepted = drill.scene.plans[NAME].topic("accepted")
    node = next(n for n in NODES if (accepted, 0) in cluster.led_by(n))
    drill.act(f"node {node} is killed: nobody leads {accepted} 0")
    cluster.kill(node)
    drill.go_on(BROKER_SILENT_SECONDS / 2)
    without = [place for place in cluster.led_by(NOBODY) if place[0].startswith(drill.scene.plans[NAME].pipeline)]
    drill.found["partitions_without_leader"] = len(without)
    if (accepted, 0) not in without:
        drill.faults.append(f"{accepted} 0 has a leader")
    drill.go_on(BROKER_SILENT_SECONDS / 2)
    cluster.start(node)
    drill.until("all nodes are there", cluster.is_whole, NODE_SECONDS_MAX)
    drill.act("all nodes are there")
    _recovered(drill, "return_of_the_leader")


NODE_SECONDS_MAX: Final = 240.0


def _recovered(drill: Drill, what: str) -> None:
    """Answers flow again, and nobody had to be started anew for it."""
    at = time.monotonic()
    lives = {name: member.lives for name, member in drill.fleet.members.items()}
    drill.answers_flow()
    drill.found[f"answers_after_{what}_seconds"] = round(time.monotonic() - at, 2)
    drill.go_on(CALM_SECONDS)
    drill.faults += [
        f"{name} ended in the broker's {what}"
        for name, member in drill.fleet.members.items()
        if member.lives != lives[name]
    ]
