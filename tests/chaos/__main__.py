"""`python -m tests.chaos`: kill what can be killed, check every answer; the last line is one JSON object."""

from __future__ import annotations

import argparse
import json
import os
import sys
from random import SystemRandom


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the schedule and of the generated pipeline; drawn when absent")
    parser.add_argument("--requests", type=int, default=120, help="over the whole round (120)")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long requests and faults go on (1)")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between faults, on average (3)")
    parser.add_argument("--kills-min", type=int, default=0, help="at least so many SIGKILLs of processes")
    parser.add_argument("--pauses-min", type=int, default=0, help="at least so many zombies: SIGSTOP, later SIGCONT")
    parser.add_argument("--broker-restarts-min", type=int, default=0, help="at least so many restarts of the broker")
    parser.add_argument("--pipelines", default="generated,reviewed", help="generated, reviewed, or both")
    parser.add_argument("--splits", action="store_true", help="the stages of a pipeline in two kinds of processes")
    parser.add_argument("--broker-kills", action="store_true", help="SIGKILL for the broker where it is restarted")
    parser.add_argument("--network", action="store_true", help="delays and resets between processes and broker as well")
    parser.add_argument("--small-queues", action="store_true", help="producers whose queues are full after 50 records")
    parser.add_argument("--json", action="store_true", help="nothing but the JSON line on standard output")
    given = parser.parse_args()
    seed = SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    os.environ["DESCANT_CHAOS_SEED"] = str(seed)  # read where the pipelines are made

    from tests.chaos.round import Options, run_round

    options = Options(
        seed=seed,
        requests=given.requests,
        seconds=given.minutes * 60,
        every=given.every,
        pipelines=tuple(given.pipelines.split(",")),
        splits=given.splits,
        broker_kills=given.broker_kills,
        network=given.network,
        small_queues=given.small_queues,
        at_least={
            "kill": given.kills_min,
            "pause": given.pauses_min,
            "broker-restart": given.broker_restarts_min,
        },
    )
    result = run_round(options, lambda line: print(line, file=sys.stderr if given.json else sys.stdout, flush=True))
    for name, verdict in result.verdicts.items():
        for what in ("lost", "duplicated", "mixed", "unasked", "faults"):
            for line in getattr(verdict, what)[:5]:
                print(f"{name} {what}: {line}", file=sys.stderr)
    for line in result.faults[:10]:
        print(line, file=sys.stderr)
    print(json.dumps(result.as_json()), flush=True)
    return 0 if result.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
