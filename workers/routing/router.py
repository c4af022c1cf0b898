"""One stage instance's router: the records of its fleet and its own sends, kept in step around one policy."""

from __future__ import annotations

import zlib

from workers.routing.fleet import Fleet, Heard
from workers.routing.policy import Chance, Choice, NoLaneError, Policy
from workers.routing.prompt import PromptInfo
from workers.routing.sends import Send, Sends
from workers.routing.state import WorkerState


class Router:
    """Chooses lanes for the prompts of one stage instance.

    One thread. `now` is in seconds since 1970 and never goes back. The order of calls for a prompt:
    `choose`, `sent` once it is produced, then `first_token` and `finished` as far as somebody here learns
    of them: the `descant` policy does without both, the policies that count requests do not.
    """

    def __init__(self, fleet: Fleet, policy: Policy, rng: Chance, *, instances: float = 1.0) -> None:
        self.fleet = fleet
        self.policy = policy
        self.sends = Sends(fleet, instances=instances)
        self._rng = rng

    def choose(self, prompt: PromptInfo, now: float) -> Choice:
        """A lane of a live worker for this prompt; nothing is recorded. Raises NoLaneError when there is
        none."""
        self._catch_up(now)
        fleet = self.fleet
        if not fleet.slots():
            raise NoLaneError(fleet.model, silent=len(fleet.members))
        pick = self.policy.pick(prompt, fleet, self.sends, now, self._rng)
        member = fleet[pick.slot]
        uncached = pick.terms.get("uncached")
        if uncached is None:
            uncached = self._uncached(prompt, pick.slot)
        lanes = member.state.lanes
        lane = lanes[zlib.crc32(prompt.id.encode()) % len(lanes)]
        return Choice(member.state.worker, member.state.epoch, lane, uncached, pick.terms, pick.reason)

    def sent(self, prompt: PromptInfo, choice: Choice, now: float) -> None:
        """The prompt was produced to the lane. Ignored if its worker has gone or restarted since the
        choice."""
        self._catch_up(now)
        member = self.fleet.members.get(choice.worker)
        if member is None or member.state.epoch != choice.epoch:
            return
        held, announced = member.blocks, 0
        for block in prompt.blocks:
            if block not in held:
                break
            announced += 1
        self.sends.add(prompt, member.slot, choice.uncached, announced, now)
        self.policy.placed(prompt, member.slot, now)

    def first_token(self, prompt_id: str, now: float) -> None:
        """Text of this prompt began to come."""
        self.sends.first_token(prompt_id)

    def finished(self, prompt_id: str, now: float, *, output_tokens: int | None = None) -> None:
        """The prompt has its text, or nobody waits for it any more (then without `output_tokens`)."""
        send = self.sends.finished(prompt_id)
        if send is not None and output_tokens is not None:
            self._learn(send, output_tokens)

    def worker_state(self, state: WorkerState, now: float, *, replayed: bool = False) -> Heard:
        """Passes a record to the fleet. Where routers share a fleet, give each record to one of them, or to
        the fleet."""
        return self.fleet.update(state, now, replayed=replayed)

    def expire(self, now: float) -> tuple[str, ...]:
        """Forgets silent workers; call it every 0.1 s or so. Returns the ids of own prompts, not finished,
        whose worker was forgotten since the last call: they are to be routed again unless their lane's next
        owner will serve them."""
        self.fleet.expire(now)
        self._catch_up(now)
        lost = tuple(self.sends.lost)
        self.sends.lost.clear()
        return lost

    def _catch_up(self, now: float) -> None:
        for slot in self.sends.catch_up(now):
            self.policy.forget(slot)

    def _learn(self, send: Send, output_tokens: int) -> None:
        learn = getattr(self.policy, "learn", None)
        if learn is not None:
            learn(send.prompt, output_tokens)

    def _uncached(self, prompt: PromptInfo, slot: int) -> float:
        depth = float(self.fleet.cached_blocks(prompt.blocks, self.sends.blocks)[slot])
        return max(prompt.tokens - depth * prompt.block_tokens, 1.0)
