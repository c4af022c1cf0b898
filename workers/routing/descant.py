"""Our policy: least expected delay of the request, counting what the prompt costs those who decode there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from workers.routing.fleet import Fleet, Floats
from workers.routing.policy import Chance, Pick
from workers.routing.prompt import PromptInfo, kappa
from workers.routing.sends import Sends

# Weight of the expected decode time against the wait for the first token. Below 1, because inter-token
# times change while a text is written and regress to the mean. 1 and 2 were worse wherever prompts share
# nothing.
DECODE_WEIGHT: Final = 0.3
# Weight of the externality: seconds of prefill × prompts that are held up by it. Counting prompts rather
# than their Σκ takes 25 % off the p90 of pipelines at high load: where many checks of open forks decode, Σκ
# is small, so that Σκ sends still more there (docs/decisions/routing-externality.md).
EXTERNALITY: Final = 0.1
# A prompt that has this many tokens to compute counts its own delay twice against others', one of twice as
# many five times: it is the tail already. Without it short prompts gain and long ones lose 10 % of p99 on a
# mix of both (docs/decisions/routing-long-prompts.md).
LONG_TOKENS: Final = 3_000.0
# Where one more prompt makes a step longer by at least this (seconds), prompts share a processor that does no more in a
# step for many than for few: a CPU. There each has its price in everybody's decoding, and the fewer are together the
# better. On a GPU it is some 0.1 ms, and counting it made the p99 of long prompts a quarter worse
# (docs/decisions/routing-crowding.md).
CROWDED_SECONDS: Final = 1e-3
# Weight of the seconds that all others decode longer.
CROWDING: Final = 0.3
# Costs this close (seconds) are equal: the estimates are no better. Ties go by rendezvous, which sends
# equal text to one worker.
TIE_SECONDS: Final = 0.005
# Expected output of a stage that has not finished anything yet.
OUTPUT_TOKENS_AT_FIRST: Final = 128.0
OUTPUT_LEARNING_RATE: Final = 0.02
_STAGES_MAX: Final = 1_024
_ONES: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Weights:
    """The constants that were tuned, together, for simulations that vary them."""

    decode: float = DECODE_WEIGHT
    externality: float = EXTERNALITY
    long_tokens: float = LONG_TOKENS
    crowding: float = CROWDING
    tie: float = TIE_SECONDS


class DescantPolicy:
    """cost(w) = own · ((wait + u) / rate + WD · out · itl) + EXT · (u / rate) · prompts; the least wins.

    On processors that prompts slow each other down on, + CROWD · out · further · prompts, and a wait for a place.

    own      κ · (1 + (least u / LONG)²): what a delay of this prompt matters
    wait     tokens before it: announced, less what was computed since, plus what all routers sent since
    u        its own tokens not cached there
    itl      seconds between two tokens there
    prompts  those that decode or wait there, and those sent since
    further  what one more prompt adds to the time between two tokens of all

    Cost: docs/routing.md. Source: the shape is that of the cost in ALTO's setting (arXiv 2403.04311) with
    announced blocks; constants were tuned on other seeds than those reported.
    """

    name = "descant"

    def __init__(self, weights: Weights | None = None) -> None:
        self.weights = weights or Weights()
        self._outputs: dict[str, float] = {}

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        weights, matter = self.weights, kappa(prompt.fork)
        depth = fleet.cached_blocks(prompt.blocks, sends.blocks)
        uncached = depth * -prompt.block_tokens
        uncached += prompt.tokens
        np.maximum(uncached, 1.0, out=uncached)
        prefill = uncached * fleet.second_a_token
        wait = fleet.free_at - now
        np.maximum(wait, 0.0, out=wait)
        held_up = fleet.prompts
        if sends.any_fresh:
            wait += sends.fresh_tokens * fleet.second_a_token * sends.instances
            held_up = held_up + sends.fresh * sends.instances
        output, itl = min(self.expected_output(prompt, fleet), prompt.max_output), fleet.itl
        external = prefill * held_up
        external *= weights.externality
        if fleet.most_further >= CROWDED_SECONDS:
            here = np.minimum(held_up, fleet.places - 1.0)
            itl = itl + fleet.further * (here + 1.0 - np.minimum(fleet.prompts, fleet.places))
            wait += np.maximum(held_up + 1.0 - fleet.places, 0.0) / fleet.places * output * itl
            external += weights.crowding * output * fleet.further * here
        decode = itl * (weights.decode * output)
        deepest = int(depth[depth.argmax()])  # `max` goes through Python, which costs as much as all of this line
        least = max(prompt.tokens - deepest * prompt.block_tokens, 1.0)
        own = matter * (1.0 + (least / weights.long_tokens) ** 2)
        cost = wait + prefill
        cost += decode
        cost *= own
        cost += external
        cost += fleet.gone
        best = int(cost.argmin())
        near = (cost <= cost[best] + weights.tie).nonzero()[0]
        if len(near) > 1:
            best = int(near[_rendezvous(_first_new_block(prompt, deepest), fleet.salt[near])])
            reason = "tie"
        else:
            reason = _reason(cost, best, {"wait": wait, "prefix": prefill, "decode": decode}, own, external)
        return Pick(
            best,
            {
                "cost": float(cost[best]),
                "kappa": matter,
                "own_weight": own,
                "uncached": float(uncached[best]),
                "wait_seconds": float(wait[best]),
                "prefill_seconds": float(prefill[best]),
                "decode_seconds": float(decode[best]),
                "externality_seconds": float(external[best]),
                "ties": float(len(near)),
            },
            reason,
        )

    def expected_output(self, prompt: PromptInfo, fleet: Fleet) -> float:
        """Mean output tokens of the stage: own finishes first, else what the workers measured."""
        own = self._outputs.get(prompt.stage)
        if own is not None:
            return own
        return fleet.outputs.get(prompt.stage, OUTPUT_TOKENS_AT_FIRST)

    def learn(self, prompt: PromptInfo, output_tokens: int) -> None:
        """One prompt of its stage has finished with so many tokens."""
        mean = self._outputs.get(prompt.stage)
        if mean is None:
            if len(self._outputs) >= _STAGES_MAX:
                return
            self._outputs[prompt.stage] = float(output_tokens)
        else:
            self._outputs[prompt.stage] = mean + OUTPUT_LEARNING_RATE * (output_tokens - mean)

    def placed(self, prompt: PromptInfo, slot: int, now: float) -> None:
        """Nothing of its own to remember: `Sends` does."""

    def forget(self, slot: int) -> None:
        """Same."""


def _reason(cost: Floats, best: int, terms: Mapping[str, Floats], own: float, external: Floats) -> str:
    """The term in which the chosen worker is furthest ahead of the next best one."""
    least = float(cost[best])
    cost[best] = np.inf
    other = int(cost.argmin())
    if cost[other] == np.inf:
        cost[best] = least
        return "only"
    cost[best] = least
    ahead = {name: own * float(term[other] - term[best]) for name, term in terms.items()}
    ahead["others"] = float(external[other] - external[best])
    return max(ahead, key=ahead.__getitem__)


def _first_new_block(prompt: PromptInfo, known: int) -> int:
    """Hash of the first block that is cached nowhere; where all are, of the last."""
    if not prompt.blocks:
        return 0
    return prompt.blocks[min(known, len(prompt.blocks) - 1)]


def _rendezvous(block: int, salts: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> int:
    """Index of the worker with the highest hash of (block, worker): the same one for every router."""
    mixed = (salts ^ np.uint64(block & _ONES)) * np.uint64(_GOLDEN)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return int((mixed ^ (mixed >> np.uint64(32))).argmax())
