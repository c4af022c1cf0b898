"""`python -m tests.chaos.drills NAME`: what operators do, and what happens to them, one at a time, under an even load.

  scale     instances of every stage 1 → 4 → 1, workers 1 → 3 → 1
  roll      every process is restarted in turn, the stage `report` in a new version
  replace   processes are killed one after another, each when the one before has been replaced
  broker    the broker is restarted, does not answer for half a minute, is away for as long; no process may end

Every answer is judged as in a round. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from streams.broker import EmbeddedKafka
from tests.chaos import pipelines
from tests.chaos.drills.courses import NAME, broker, pairs, replace, roll, scale, scale_crew
from tests.chaos.drills.drill import Drill, pauses
from tests.chaos.scene import Scene, Size, summed

PAUSE_SECONDS_MAX: Final = 1.0

DRILLS: Final[dict[str, tuple[Callable[[Scene], None], Callable[[Drill], None], Size]]] = {
    "scale": (scale_crew, scale, Size(partitions=4, lanes=3)),
    "roll": (pairs, roll, Size()),
    "replace": (pairs, replace, Size()),
    "broker": (pairs, broker, Size()),
}


def run_drill(name: str, rate: float, say: Callable[[str], None]) -> tuple[dict[str, Any], list[str]]:
    """What the JSON line says, and what went wrong."""
    crew, course, size = DRILLS[name]
    folder = Path(tempfile.mkdtemp(prefix=f"descant-drill-{name}-"))
    with EmbeddedKafka() as kafka:
        plans = {NAME: getattr(pipelines, NAME).plan}
        with Scene(kafka.bootstrap, folder, plans, size, {}) as scene:
            drill = Drill(scene, kafka, rate, say)
            crew(scene)
            if scene.begin():
                course(drill)
                scene.settle()
            scene.end()
        verdicts = scene.judge()
    faults = [*drill.faults, *scene.fleet.faults, *scene.epochs.faults]
    for verdict in verdicts.values():
        faults += [*verdict.lost, *verdict.duplicated, *verdict.mixed, *verdict.unasked, *verdict.faults]
    result = {"drill": name, **summed(verdicts), **pauses(drill), **drill.found, "faults": len(faults)}
    if name in ("scale", "roll") and result["pause_seconds_p99"] > PAUSE_SECONDS_MAX:
        faults.append(f"requests waited {result['pause_seconds_p99']} s (p99) longer than in quiet times")
    if faults:
        say(f"what the processes said: {folder}")
    else:
        shutil.rmtree(folder)
    return result, faults


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.drills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("drill", choices=list(DRILLS))
    parser.add_argument("--rate", type=float, default=4.0, help="requests a second (4)")
    parser.add_argument("--json", action="store_true", help="nothing but the JSON line on standard output")
    given = parser.parse_args()
    say = lambda line: print(line, file=sys.stderr if given.json else sys.stdout, flush=True)  # noqa: E731
    result, faults = run_drill(given.drill, given.rate, say)
    for line in faults[:20]:
        print(line, file=sys.stderr)
    print(json.dumps(result), flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
