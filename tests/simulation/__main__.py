"""Play histories outside pytest, and say what happened in them.

python -m tests.simulation --histories 2000             what the search meets, how often
python -m tests.simulation --histories 500 --seed 7000  from this seed on
python -m tests.simulation --play 7012                  one history, line by line
python -m tests.simulation --flaws                      where each flaw that is put back is found
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from random import Random

from tests.simulation.census import SITUATIONS, take
from tests.simulation.checker import check
from tests.simulation.flaws import DIRECTED, FLAWS, search
from tests.simulation.profiles import HISTORIES
from tests.simulation.schedules import draw
from tests.simulation.simulation import simulate


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--histories", type=int, default=300, help="how many histories (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first (default 0)")
    parser.add_argument("--play", type=int, metavar="SEED", help="print one history")
    parser.add_argument("--flaws", action="store_true", help="put each known flaw back and look for it")
    chosen = parser.parse_args()
    if chosen.play is not None:
        return _play(chosen.play)
    return _flaws() if chosen.flaws else _histories(range(chosen.seed, chosen.seed + chosen.histories))


def _play(seed: int) -> int:
    history = simulate(draw(Random(seed)), seed)  # noqa: S311 - a schedule, not a secret
    violations = check(history)
    sys.stdout.write("\n".join([str(history.schedule), history.around(), *map(str, violations), ""]))
    return 1 if violations else 0


def _histories(seeds: range) -> int:
    found: Counter[str] = Counter()
    present: Counter[str] = Counter()
    bad = steps = 0
    began = time.process_time()
    for seed in seeds:
        history = simulate(draw(Random(seed)), seed)  # noqa: S311 - same
        steps += history.world.step
        counts = take(history)
        found.update(counts)
        present.update(name for name, times in counts.items() if times)
        for violation in check(history):
            bad += 1
            sys.stdout.write(f"seed {seed}: {violation}\n")
    seconds = time.process_time() - began
    sys.stdout.write(f"{'times':>9}  {'histories':>9}\n")
    for name in SITUATIONS:
        sys.stdout.write(f"{found[name]:9d}  {present[name]:9d}  {name}\n")
    sys.stdout.write(
        f"{len(seeds)} histories, {steps} steps, {seconds:.1f} s of CPU: {bad} breaches; "
        f"{sum(not found[name] for name in SITUATIONS)} of {len(SITUATIONS)} situations never came about\n"
    )
    return 1 if bad else 0


def _flaws() -> int:
    missed = 0
    for flaw in (*FLAWS, *DIRECTED):
        seed, violation = search(flaw, HISTORIES["ci"])
        missed += seed is None
        where = "not found" if seed is None else f"history {seed + 1:5d}"
        sys.stdout.write(f"{flaw.number:>4}  {where}  {flaw.text}: {violation}\n")
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
