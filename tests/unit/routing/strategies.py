"""Workers and prompts for tests of routing."""

from __future__ import annotations

from workers.routing import Fleet, Fork, PromptInfo, Router, WorkerState, pack_blocks, policy

MODEL = "m"
BLOCK = 32


class Chance:
    """A small generator with a seed (a linear congruence), so that tests do not share state."""

    def __init__(self, seed: int = 1) -> None:
        self._state = seed * 7919 + 1

    def random(self) -> float:
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 11) / 2**53


def state(worker: str, *, epoch: int = 1, sequence: int = 0, ts: float = 100.0, **fields: object) -> WorkerState:
    number = int("".join(c for c in worker if c.isdigit()) or 0)
    given = {
        "lanes": (number, number + 1_000),
        "model": MODEL,
        "blocks": 1_000,
        "free_blocks": 1_000,
        **fields,
    }
    if "added" in given and not isinstance(given["added"], str):
        given["added"] = pack_blocks(given["added"])  # type: ignore[arg-type]
    if "removed" in given and not isinstance(given["removed"], str):
        given["removed"] = pack_blocks(given["removed"])  # type: ignore[arg-type]
    return WorkerState.model_validate(
        {"worker": worker, "epoch": epoch, "sequence": sequence, "ts": ts, "full": sequence == 0, **given}
    )


def prompt(
    name: str = "p", blocks: tuple[int, ...] = (), *, tokens: int | None = None, fork: Fork | None = None
) -> PromptInfo:
    return PromptInfo(
        id=name,
        request=name,
        arrived=100.0,
        stage="ask",
        tokens=tokens if tokens is not None else max(1, len(blocks) * BLOCK + 10),
        blocks=blocks,
        fork=fork,
    )


def router(name: str = "descant", workers: int = 3, *, now: float = 100.0, seed: int = 1) -> Router:
    """With live workers w0, w1, … that hold nothing and do nothing."""
    made = Router(Fleet(MODEL), policy(name), Chance(seed))
    for i in range(workers):
        made.worker_state(state(f"w{i}", ts=now), now)
    return made
