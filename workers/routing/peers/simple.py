"""The classics, which know nothing of prefixes."""

from __future__ import annotations

from workers.routing.fleet import Fleet
from workers.routing.policy import Chance, Pick
from workers.routing.prompt import PromptInfo
from workers.routing.sends import Sends


class Stateless:
    """What a policy without a memory of its own shares."""

    def placed(self, prompt: PromptInfo, slot: int, now: float) -> None:
        """Nothing to remember."""

    def forget(self, slot: int) -> None:
        """Nothing to forget."""


class RoundRobin:
    """Each live worker in turn (nginx's default, vLLM's production stack `roundrobin`)."""

    name = "round_robin"

    def __init__(self) -> None:
        self._last = -1

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        slots = fleet.slots()
        self._last = next((s for s in slots if s > self._last), slots[0])
        return Pick(self._last, {"turn": float(self._last)})

    def placed(self, prompt: PromptInfo, slot: int, now: float) -> None:
        """The turn moved when it was picked."""

    def forget(self, slot: int) -> None:
        """The next turn looks only at live workers."""


class Random(Stateless):
    """A live worker at random."""

    name = "random"

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        slots = fleet.slots()
        return Pick(slots[min(int(rng.random() * len(slots)), len(slots) - 1)], {})


class LeastRequests(Stateless):
    """Fewest prompts not finished (Envoy's and nginx's `least_conn`); ties at random."""

    name = "least_requests"

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        load, _, slot = min((sends.requests(s), rng.random(), s) for s in fleet.slots())
        return Pick(slot, {"requests": load})


class LeastPendingTokens(Stateless):
    """Fewest prompt tokens still to be computed, announced and sent since; ties by fewer prompts, then at
    random."""

    name = "least_pending_tokens"

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        pending = sends.pending_tokens()
        tokens, _, _, slot = min((float(pending[s]), sends.requests(s), rng.random(), s) for s in fleet.slots())
        return Pick(slot, {"pending_tokens": tokens})


class PowerOfTwo(Stateless):
    """Two different workers at random, the one with fewer prompts (Mitzenmacher, "The Power of Two
    Choices", 2001)."""

    name = "power_of_two"

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        slots = fleet.slots()
        first = min(int(rng.random() * len(slots)), len(slots) - 1)
        second = (first + 1 + min(int(rng.random() * (len(slots) - 1)), len(slots) - 2)) % len(slots)
        load, slot = min((sends.requests(slots[i]), slots[i]) for i in (first, second))
        return Pick(slot, {"requests": load})


class VllmDataParallel(Stateless):
    """Least 4 × waiting + running; the router adds 4 for each prompt it has sent since the engine's last
    report.

    Source: vLLM, `vllm/v1/engine/core_client.py`, `DPLBAsyncMPClient.get_core_engine_for_request`.
    """

    name = "vllm_dp"

    def pick(self, prompt: PromptInfo, fleet: Fleet, sends: Sends, now: float, rng: Chance) -> Pick:
        slots = fleet.slots()
        start = min(int(rng.random() * len(slots)), len(slots) - 1)  # each client starts its scan elsewhere
        best, best_score = slots[start], float("inf")
        for i in range(len(slots)):
            slot = slots[(start + i) % len(slots)]
            state = fleet[slot].state
            score = 4.0 * (state.waiting + float(sends.fresh[slot])) + state.running
            if score < best_score:
                best, best_score = slot, score
        return Pick(best, {"score": best_score})
