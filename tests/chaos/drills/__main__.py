"""`python -m tests.chaos.drills NAME`: what operators do, and what happens to them, one at a time.

Under an even load, every answer judged as in a round:
  tour      a little of the next four, in a minute
  scale     instances of every stage 1 → 4 → 1, workers 1 → 3 → 1
  roll      every process is restarted in turn, the stage `report` in a new version
  replace   processes are killed one after another, each when the one before has been replaced
  broker    the broker is restarted, does not answer for half a minute, is away for as long; no process may end
  silences  the broker does not answer for 10 s, six times; a client may lose contact (docs/decisions/lost-contact.md)
  nodes     one of three brokers is killed, does not answer, is stopped; replicas on all three
  leaderless  one of three brokers is killed, and some partitions have no other replica

Very many requests, and the memory of every process meanwhile:
  even      at most 200 of them open
  burst     all sent at once

Requests that are cancelled in the middle, and what they leave behind:
  cancels   in one process, so that it can be counted

What is saved by going on with the texts of a killed worker:
  resume    the same load and the same kills twice; in the second run texts are written again from their beginning

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from streams.broker import EmbeddedKafka
from streams.settings import KafkaSettings
from tests.chaos import pipelines
from tests.chaos.cluster import Cluster
from tests.chaos.drills import memory, resume
from tests.chaos.drills.cancels import cancel_many
from tests.chaos.drills.courses import broker, leaderless, nodes, pairs, replace, roll, scale, silences, single, tour
from tests.chaos.drills.drill import NAME, Drill, pauses
from tests.chaos.scene import Scene, Size, summed

PAUSE_SECONDS_MAX: Final = 1.0

COURSES: Final[dict[str, tuple[Callable[[Scene], None], Callable[[Drill, EmbeddedKafka], None], Size]]] = {
    "tour": (single, tour, Size()),
    "scale": (single, scale, Size(partitions=4, lanes=3)),
    "roll": (pairs, roll, Size()),
    "replace": (pairs, replace, Size()),
    "broker": (pairs, broker, Size()),
    "silences": (single, silences, Size()),
}

CLUSTER_COURSES: Final[dict[str, tuple[Callable[[Drill, Cluster], None], int]]] = {
    "nodes": (nodes, 3),
    "leaderless": (leaderless, 1),
}
"""With the replicas of each partition."""

LOADS: Final = {"even": memory.even, "burst": memory.burst}

Say = Callable[[str], None]
Found = tuple[dict[str, Any], list[str]]
"""What the JSON line says, and what went wrong."""


def run_course(name: str, rate: float, folder: Path, say: Say) -> Found:
    if name in CLUSTER_COURSES:
        course_of_cluster, replication = CLUSTER_COURSES[name]
        with Cluster(folder / "kafka") as cluster:
            size = Size(replication=replication)
            return _play(name, cluster.bootstrap, pairs, lambda drill: course_of_cluster(drill, cluster), size, rate,
                         folder, say)  # fmt: skip
    crew, course, size = COURSES[name]
    with EmbeddedKafka() as kafka:
        return _play(name, kafka.bootstrap, crew, lambda drill: course(drill, kafka), size, rate, folder, say)


def _play(
    name: str,
    bootstrap: str,
    crew: Callable[[Scene], None],
    course: Callable[[Drill], None],
    size: Size,
    rate: float,
    folder: Path,
    say: Say,
) -> Found:
    plans = {NAME: getattr(pipelines, NAME).plan}
    with Scene(bootstrap, folder, plans, size, {}) as scene:
        drill = Drill(scene, rate, say)
        crew(scene)
        if scene.begin():
            course(drill)
            scene.settle()
        scene.end()
    verdicts = scene.judge()
    faults = [*drill.faults, *scene.fleet.faults, *scene.epochs.faults]
    for verdict in verdicts.values():
        faults += [*verdict.lost, *verdict.duplicated, *verdict.mixed, *verdict.unasked, *verdict.faults]
    ended = scene.fleet.times_said("ended a transaction that nobody ended")
    result = {**summed(verdicts), **pauses(drill), **drill.found, "transactions_ended_for_others": ended}
    if name in ("scale", "roll"):
        held_up = result["pause_seconds_p99"]
        if held_up is None:
            faults.append("no request was answered in the calm: there is nothing to compare with")
        elif held_up > PAUSE_SECONDS_MAX:
            faults.append(f"requests waited {held_up} s (p99) longer than in the calm")
    return result, faults


def run_load(name: str, requests: int, admission: int | None, folder: Path, say: Say) -> Found:
    environment = {} if admission is None else {"DESCANT_ADMISSION_WINDOW": str(admission)}
    with EmbeddedKafka() as kafka:
        plans = {memory.MANY: getattr(pipelines, memory.MANY).plan}
        with Scene(kafka.bootstrap, folder, plans, Size(), environment) as scene:
            memory.crew(scene)
            if not scene.begin():
                return {}, scene.fleet.faults
            result, faults = LOADS[name](scene, requests, say)
            scene.end()
    return result, [*faults, *scene.fleet.faults]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.drills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("drill", choices=[*COURSES, *CLUSTER_COURSES, *LOADS, "resume", "cancels"])
    parser.add_argument("--rate", type=float, default=4.0, help="requests a second, of those under an even load (4)")
    parser.add_argument("--requests", type=int, default=10_000, help="of all others (10,000)")
    parser.add_argument("--kills", type=int, default=8, help="of workers, in `resume` (8)")
    parser.add_argument("--engine", choices=list(resume.ENGINES), default="simulated", help="of `resume`")
    parser.add_argument("--seed", type=int, default=1, help="of the kills of `resume` (1)")
    parser.add_argument("--admission", type=int, help="requests in the pipeline at once, per partition (2,000)")
    parser.add_argument("--json", action="store_true", help="nothing but the JSON line on standard output")
    given = parser.parse_args()
    name = given.drill
    folder = Path(tempfile.mkdtemp(prefix=f"descant-drill-{name}-"))

    def say(line: str) -> None:
        print(line, file=sys.stderr if given.json else sys.stdout, flush=True)

    if name in COURSES or name in CLUSTER_COURSES:
        result, faults = run_course(name, given.rate, folder, say)
    elif name == "resume":
        result, faults = resume.compare(given.engine, given.requests, given.kills, given.seed, folder, say)
    elif name == "cancels":
        with EmbeddedKafka() as kafka:
            settings = KafkaSettings(bootstrap=kafka.bootstrap)
            result, faults = asyncio.run(cancel_many(settings, name, given.requests, say))
    else:
        result, faults = run_load(name, given.requests, given.admission, folder, say)
    for line in faults[:20]:
        print(line, file=sys.stderr)
    if faults:
        say(f"what the processes said: {folder}")
    else:
        shutil.rmtree(folder)
    print(json.dumps({"drill": name, **result, "faults": len(faults)}), flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
