"""What a routing decision costs: `python -m benchmarks.routing.decision [--json] [--policy P]`.

Prompts of 4,096 tokens (128 blocks), of which a worker holds between none and forty; each decision is followed by its
`sent`, every 50 ms each worker announces itself again. Thread CPU time, so that other processes do not count; the
garbage collector is frozen as a long-running process would have it. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.routing.simulation import quantile
from workers.routing import BlockHasher, Fleet, PromptInfo, Router, WorkerState, pack_blocks, policy

FLEETS: Final = (8, 64, 1_024)
TOKENS: Final = 4_096
SHARED_BLOCKS: Final = 40
PROMPTS_A_SECOND: Final = 500


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds."""

    workers: int
    choose_p50: float
    choose_p99: float
    sent_p50: float
    sent_p99: float


def fleet_of(workers: int, rng: random.Random, template: Sequence[int]) -> Fleet:
    """Workers with random load, each holding a random part of the template."""
    fleet = Fleet("m")
    for i in range(workers):
        fleet.update(_state(i, 0, 100.0, rng, pack_blocks(template[: rng.randrange(len(template) + 1)])), 100.0)
    return fleet


def _state(worker: int, sequence: int, now: float, rng: random.Random, added: str = "") -> WorkerState:
    return WorkerState(
        worker=f"w{worker}",
        epoch=1,
        sequence=sequence,
        model="m",
        lanes=(worker,),
        ts=now,
        pend=rng.random() * 5_000,
        running=rng.randrange(60),
        full=sequence == 0,
        added=added,
    )


def measure(name: str, workers: int, decisions: int, seed: int = 1) -> Cost:
    """Times `decisions` decisions, after a tenth as many to warm up."""
    rng = random.Random(seed)
    template = [rng.getrandbits(64) for _ in range(SHARED_BLOCKS)]
    fleet = fleet_of(workers, rng, template)
    router = Router(fleet, policy(name), rng, instances=4)
    sequences = [0] * workers
    chosen, sent = [], []
    gc.collect()
    gc.freeze()
    for i in range(decisions + decisions // 10):
        now = 100.0 + i / PROMPTS_A_SECOND
        for _ in range(max(1, 20 * workers // PROMPTS_A_SECOND)):  # each worker speaks twenty times a second
            worker = rng.randrange(workers)
            sequences[worker] += 1
            fleet.update(_state(worker, sequences[worker], now, rng), now)
        for member in fleet.members.values():
            member.heard = now
        blocks = (*template, *(rng.getrandbits(64) for _ in range(TOKENS // 32 - SHARED_BLOCKS)))
        prompt = PromptInfo(id=str(i), request=str(i), arrived=now, stage="s", tokens=TOKENS, blocks=blocks)
        t0 = time.thread_time_ns()
        choice = router.choose(prompt, now)
        t1 = time.thread_time_ns()
        router.sent(prompt, choice, now)
        t2 = time.thread_time_ns()
        if i >= decisions // 10:
            chosen.append((t1 - t0) / 1_000)
            sent.append((t2 - t1) / 1_000)
        if i >= PROMPTS_A_SECOND:
            router.finished(str(i - PROMPTS_A_SECOND), now, output_tokens=50)
    gc.unfreeze()
    return Cost(workers, *(round(quantile(v, q), 1) for v in (chosen, sent) for q in (0.5, 0.99)))


def hashing(decisions: int = 300) -> dict[str, float]:
    """Median microseconds to hash 16 kB of text: all new, and with the first two thirds known from the stage."""
    rng = random.Random(2)
    hasher, head = BlockHasher(), rng.randbytes(8_192).hex()[: 16_384 * 2 // 3]
    took: dict[str, list[float]] = {"new": [], "template_known": []}
    for i in range(decisions):
        text = head + rng.randbytes(3_000).hex()[: 16_384 - len(head)]
        for kind, stage in (("new", f"{i}"), ("template_known", "stage")):
            t0 = time.thread_time_ns()
            hasher.text(text, stage=stage)
            took[kind].append((time.thread_time_ns() - t0) / 1_000)
    return {kind: round(quantile(values, 0.5), 1) for kind, values in took.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line a fleet size and the JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing.decision", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON object on standard output")
    parser.add_argument("--policy", default="descant")
    parser.add_argument("--decisions", type=int, default=2_000)
    options = parser.parse_args(arguments)
    costs = [measure(options.policy, workers, options.decisions) for workers in FLEETS]
    hashed = hashing()
    if not options.json:
        for c in costs:
            print(
                f"{c.workers:5} workers: choose p50 {c.choose_p50} µs, p99 {c.choose_p99} µs; "
                f"sent p50 {c.sent_p50} µs, p99 {c.sent_p99} µs"
            )
        print(f"hashing 16 kB of text: {hashed['new']} µs new, {hashed['template_known']} µs behind a known template")
    figures = {str(c.workers): {"p50": c.choose_p50, "p99": c.choose_p99} for c in costs}
    print(json.dumps({"policy": options.policy, "choose_us": figures, "hash_16kb_us": hashed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
