"""Routers that weigh announced blocks against load: llm-d, Dynamo; and consistent hashing, which needs "
"neither."""

from __future__ import annotations

import bisect
import hashlib
import math
from typing import Final

import numpy as np

from workers.routing.fleet import Fleet, Floats
from workers.routing.peers.memory import PrefixMemory
from workers.routing.peers.simple import Stateless
from workers.routing.policy import Chance, Pick
from workers.routing.prompt import PromptInfo
from workers.routing.sends import Sends


class LlmdScorers:
    """Greatest 2 × queue + 2 × KV + 3 × prefix, each in [0, 1]; ties at random.

    queue   (most waiting − waiting) / (most − least); 1 where all are equal
    KV      free share of the KV cache
    prefix  matched share of the prompt's blocks, by this router's own record of what it sent

    Source: llm-d inference scheduler (Gateway API inference extension), `queue-scorer`,
    `kv-cache-utilization-scorer` and `prefix-cache-scorer` with the weights of its default profile,
    `max-score-picker`.
    """

    name = "llmd"
    queue_weight: Final = 2.0
    kv_weight: Final = 2.0
    prefix_weight: Final = 3.0

    def __init__(self) -> None:
        self._memory = PrefixMemory()

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        slots = fleet.slots()
        waiting = {s: fleet[s].state.waiting + float(sends.fresh[s]) * sends.instances for s in slots}
        most, least = max(waiting.values()), min(waiting.values())
        share = self._prefix_share(prompt, fleet, sends)
        best, best_key, terms = slots[0], (-math.inf, 0.0), {"score": 0.0}
        for slot in slots:
            state = fleet[slot].state
            queue = (most - waiting[slot]) / (most - least) if most > least else 1.0
            kv = state.free_blocks / state.blocks if state.blocks else 1.0
            score = self.queue_weight * queue + self.kv_weight * kv + self.prefix_weight * share[slot]
            key = (score, rng.random())
            if key > best_key:
                best, best_key = slot, key
                terms = {"score": score, "queue": queue, "kv": kv, "prefix": share[slot]}
        return Pick(best, terms)

    def _prefix_share(self, prompt: PromptInfo, fleet: Fleet, sends: Sends) -> dict[int, float]:
        blocks = max(1, len(prompt.blocks))
        return {s: m / blocks for s, m in self._memory.matches(prompt.blocks, fleet.slots()).items()}

    def placed(self, prompt: PromptInfo, slot: int, now: float) -> None:
        """Its blocks are taken to be there from now on."""
        self._memory.add(prompt.blocks, slot)

    def forget(self, slot: int) -> None:
        """Nothing is there any more."""
        self._memory.forget(slot)


class LlmdPreciseScorers(LlmdScorers):
    """The same with `precise-prefix-cache-scorer`: matches from announced blocks (and own sends not "
    "announced yet)."""

    name = "llmd_precise"

    def _prefix_share(self, prompt: PromptInfo, fleet: Fleet, sends: Sends) -> dict[int, float]:
        depth = fleet.cached_blocks(prompt.blocks, sends.blocks)
        blocks = max(1, len(prompt.blocks))
        return {s: float(depth[s]) / blocks for s in fleet.slots()}

    def placed(self, prompt: PromptInfo, slot: int, now: float) -> None:
        """Announced blocks need no memory here."""


class LlmdSticky(Stateless):
    """Stays with the workers that hold at least 0.80 of the prompt, the least loaded of them, until its
    pending prefill exceeds the least loaded worker's by τ = R_peak × T_max; else the least pending prefill
    tokens.

    Source: llm-d, sticky-until-saturated profile: affinity threshold 0.80, R_peak 20,480 tokens/s, T_max 14
    s.
    """

    name = "llmd_sticky"
    affinity: Final = 0.80
    gap_tokens: Final = 20_480.0 * 14.0

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        slots, pending = fleet.slots(), sends.pending_tokens()
        depth = fleet.cached_blocks(prompt.blocks, sends.blocks)
        blocks = max(1, len(prompt.blocks))
        draws = {s: rng.random() for s in slots}
        least = min(slots, key=lambda s: (pending[s], sends.requests(s), draws[s]))
        held = [s for s in slots if depth[s] / blocks >= self.affinity]
        if held:
            sticky = min(held, key=lambda s: (pending[s], sends.requests(s), draws[s]))
            if pending[sticky] - pending[least] <= self.gap_tokens:
                return Pick(sticky, {"prefix": float(depth[sticky]) / blocks, "pending": float(pending[sticky])})
        return Pick(least, {"prefix": float(depth[least]) / blocks, "pending": float(pending[least])})


class DynamoCost(Stateless):
    """Least prefill blocks + decode blocks: max(active prefill + prompt − overlap, 0) / block + active KV
    blocks.

    Source: NVIDIA Dynamo KV router, default selector with `overlap_score_weight` 1 and temperature 0: overlap
    from KV events, active blocks from the prompts under way, this one included.
    """

    name = "dynamo"

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        depth = fleet.cached_blocks(prompt.blocks, sends.blocks)
        prefill = np.maximum(sends.pending_tokens() + prompt.tokens - depth * prompt.block_tokens, 0.0)
        slots = fleet.slots()
        decode = np.zeros(len(depth))
        for slot in slots:
            active = fleet[slot].state.context + sends.fresh_context[slot] * sends.instances
            decode[slot] = active / prompt.block_tokens
        cost = self._cost(prefill, decode, prompt)
        best = min(slots, key=lambda s: (cost[s], rng.random()))
        return Pick(best, {"cost": float(cost[best]), "prefill": float(prefill[best]), "decode": float(decode[best])})

    def _cost(self, prefill: Floats, decode: Floats, prompt: PromptInfo) -> Floats:
        return prefill / prompt.block_tokens + decode + prompt.tokens / prompt.block_tokens


class DynamoLmetric(DynamoCost):
    """Least (adjusted prefill tokens) × (decode blocks + 1): Dynamo's `lmetric` option, after LMetric."""

    name = "dynamo_lmetric"

    def _cost(self, prefill: Floats, decode: Floats, prompt: PromptInfo) -> Floats:
        return prefill * (decode + 1.0)


class ConsistentHash:
    """A ring of 256 points a worker; the first block's hash finds the place, and a worker with more than 1.25
    times the mean load is passed over.

    Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018; as KubeAI's
    PrefixHash uses it (prefix of the prompt, load factor 1.25, 256 replicas).
    """

    name = "consistent_hash"
    bound: Final = 1.25
    points: Final = 256

    def __init__(self) -> None:
        self._ring: list[tuple[int, int]] = []
        self._members: tuple[tuple[str, int], ...] = ()

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        slots = fleet.slots()
        members = tuple((fleet[s].state.worker, s) for s in slots)
        if members != self._members:
            self._members = members
            self._ring = sorted((_place(f"{worker}/{i}"), s) for worker, s in members for i in range(self.points))
        loads = {s: sends.requests(s) for s in slots}
        limit = math.ceil(self.bound * (sum(loads.values()) + 1) / len(slots))
        key = _place(str(prompt.blocks[0]) if prompt.blocks else prompt.id)
        start = bisect.bisect_left(self._ring, (key, -1))
        for step in range(len(self._ring)):
            slot = self._ring[(start + step) % len(self._ring)][1]
            if loads[slot] + 1 <= limit:
                return Pick(slot, {"steps": float(step), "load": loads[slot]})
        slot = min(slots, key=lambda s: loads[s])
        return Pick(slot, {"steps": float(len(self._ring)), "load": loads[slot]})

    def placed(self, prompt: PromptInfo, slot: int, now: float) -> None:
        """Loads are the fleet's."""

    def forget(self, slot: int) -> None:
        """The ring is made again when the members change."""
        self._members = ()


def _place(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
