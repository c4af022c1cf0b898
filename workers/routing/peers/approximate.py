"""Routers that guess the caches from their own sends: SGLang/SMG, Ray Serve, AIBrix, Preble."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict, deque
from typing import Final

from workers.routing.fleet import Fleet
from workers.routing.peers.memory import PrefixMemory
from workers.routing.policy import Chance, Pick
from workers.routing.prompt import PromptInfo
from workers.routing.sends import Sends


class _Remembering:
    """Keeps a PrefixMemory of its own sends."""

    def __init__(self) -> None:
        self._memory = PrefixMemory()

    def placed(self, prompt: PromptInfo, slot: int, now: float) -> None:
        """Its blocks are taken to be there from now on."""
        self._memory.add(prompt.blocks, slot)

    def forget(self, slot: int) -> None:
        """Nothing is there any more."""
        self._memory.forget(slot)


class SglangCacheAware(_Remembering):
    """Balanced: the worker with the longest match if that is over 0.3 of the prompt, else the smallest tree.
    Imbalanced (max − min > 64 and max > 1.5 × min of own open prompts): the fewest.

    Source: SGLang router / SMG gateway, policy `cache_aware` with the launcher's defaults (cache_threshold
    0.3, balance_abs_threshold 64, balance_rel_threshold 1.5); the gateway counts the prompts that went
    through itself.
    """

    name = "sglang_cache_aware"
    cache_threshold: Final = 0.3
    abs_threshold: Final = 64
    rel_threshold: Final = 1.5

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        slots = fleet.slots()
        loads = {s: sends.open[s] for s in slots}
        least, most = min(loads.values()), max(loads.values())
        if most - least > self.abs_threshold and most > self.rel_threshold * least:
            return Pick(_least(loads, rng), {"imbalance": float(most - least)})
        matches = self._memory.matches(prompt.blocks, slots)
        longest = max(matches.values())
        rate = longest * prompt.block_tokens / prompt.tokens
        if rate > self.cache_threshold:
            return Pick(_any([s for s in slots if matches[s] == longest], rng), {"match_rate": rate})
        return Pick(_least({s: self._memory.size(s) for s in slots}, rng), {"match_rate": rate})


class RayPrefixAware(_Remembering):
    """Queues more than 10 apart: power of two. Else, of the replicas with the longest match if that is at
    least 10 % of the prompt, or of those with the smallest tree, the one with the shortest queue.

    Source: Ray Serve LLM, `PrefixAwarePow2ReplicaRouter` with its defaults (imbalanced_threshold 10,
    match_rate_threshold 0.1). Ray keeps one tree for all routers; here each has its own.
    """

    name = "ray_prefix_aware"
    imbalanced_threshold: Final = 10.0
    match_rate_threshold: Final = 0.1

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        slots = fleet.slots()
        queues = {s: sends.requests(s) for s in slots}
        spread = max(queues.values()) - min(queues.values())
        candidates = [_any(slots, rng), _any(slots, rng)]
        if spread <= self.imbalanced_threshold:
            matches = self._memory.matches(prompt.blocks, slots)
            longest = max(matches.values())
            if longest and longest * prompt.block_tokens / prompt.tokens >= self.match_rate_threshold:
                candidates = [s for s in slots if matches[s] == longest]
            else:
                sizes = {s: self._memory.size(s) for s in slots}
                smallest = min(sizes.values())
                candidates = [s for s in slots if sizes[s] == smallest]
        slot = min(candidates, key=lambda s: queues[s])
        return Pick(slot, {"spread": spread, "candidates": float(len(candidates))})


class AibrixPrefixCache(_Remembering):
    """Running prompts more than 8 apart: the fewest. Else the longest match among workers whose running
    prompts are at most mean + 1 standard deviation (ties: fewer running); nothing matches: the fewest.

    Source: AIBrix gateway plugin, algorithm `prefix-cache`,
    `AIBRIX_PREFIX_CACHE_POD_RUNNING_REQUEST_IMBALANCE_ABS_COUNT` 8 and `..._STANDARD_DEVIATION_FACTOR` 1.
    """

    name = "aibrix_prefix_cache"
    imbalance: Final = 8.0
    deviations: Final = 1.0

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        slots = fleet.slots()
        running = {s: sends.requests(s) for s in slots}
        spread = max(running.values()) - min(running.values())
        if spread <= self.imbalance:
            matches = self._memory.matches(prompt.blocks, slots)
            limit = statistics.fmean(running.values()) + self.deviations * statistics.pstdev(running.values())
            fit = [s for s in slots if matches[s] and running[s] <= limit]
            if fit:
                slot = min(fit, key=lambda s: (-matches[s], running[s]))
                return Pick(slot, {"matched_blocks": float(matches[slot]), "running": running[slot]})
        return Pick(_least(running, rng), {"spread": spread})


class PrebleE2(_Remembering):
    """Exploits the longest match when more of the prompt is cached than new, else explores: least load of the
    last three minutes plus this prompt. Load: seconds of prefill for what was not cached, and of decoding.
    While the heaviest worker has more than twice the lightest's load, prompts for it go to the lightest.

    Source: Preble (Srivatsa et al., ICLR 2025), §3.2 E2 and §3.3 load rebalancing; eviction cost left out
    (the caches here rarely evict what is in use), the window of 3 minutes is the paper's.
    """

    name = "preble_e2"
    window_seconds: Final = 180.0
    rebalance: Final = 2.0
    # Seconds a decoded token adds to a batch: Preble profiles it; this is that of an H100 with an 8B model at
    # a batch of 64 (7 ms a step over 64 sequences).
    decode_seconds: Final = 1.1e-4

    def __init__(self) -> None:
        super().__init__()
        self._window: dict[int, deque[tuple[float, float]]] = defaultdict(deque)
        self._load: dict[int, float] = defaultdict(float)
        self._cost: tuple[str, float] = ("", 0.0)

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        slots = fleet.slots()
        for slot in slots:
            window = self._window[slot]
            while window and now - window[0][0] > self.window_seconds:
                self._load[slot] -= window.popleft()[1]
        matches = self._memory.matches(prompt.blocks, slots)
        decode = fleet.outputs.get(prompt.stage, 128.0) * self.decode_seconds
        loads = {s: self._load[s] for s in slots}
        new = {s: max(prompt.tokens - matches[s] * prompt.block_tokens, 1.0) for s in slots}
        costs = {s: new[s] / fleet.rate[s] + decode for s in slots}
        longest = max(matches.values())
        lightest = min(slots, key=lambda s: loads[s] + costs[s])
        slot, exploits = lightest, 0.0
        if longest * prompt.block_tokens > prompt.tokens - longest * prompt.block_tokens:
            best = min((s for s in slots if matches[s] == longest), key=lambda s: loads[s])
            if loads[best] <= self.rebalance * min(loads.values()) + decode:
                slot, exploits = best, 1.0
        self._cost = (prompt.id, float(costs[slot]))
        return Pick(slot, {"exploits": exploits, "window_seconds": loads[slot], "cost_seconds": float(costs[slot])})

    def placed(self, prompt: PromptInfo, slot: int, now: float) -> None:
        """Adds its cost to the window of its worker."""
        super().placed(prompt, slot, now)
        cost = self._cost[1] if self._cost[0] == prompt.id else 0.0
        self._window[slot].append((now, cost))
        self._load[slot] += cost

    def forget(self, slot: int) -> None:
        """The worker starts with an empty window."""
        super().forget(slot)
        self._window.pop(slot, None)
        self._load.pop(slot, None)


def _least(loads: dict[int, int] | dict[int, float], rng: Chance) -> int:
    """A slot with the least load; ties at random."""
    least = min(loads.values())
    return _any([s for s, load in loads.items() if load == least], rng)


def _any(slots: list[int], rng: Chance) -> int:
    return slots[min(math.floor(rng.random() * len(slots)), len(slots) - 1)]
