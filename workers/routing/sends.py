"""What one router sent and what has become of it: the part of the truth that no worker has announced yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from workers.routing.fleet import Fleet, Floats
from workers.routing.prompt import PromptInfo

TTL_SECONDS: Final = 2.0
"""How long blocks of a sent prompt count as held where they were not announced. A prefill that takes longer
belongs to a worker so loaded that a wrong guess hardly matters; much longer, and an evicted prefix keeps
attracting prompts."""
# Prompts whose end nobody reported (their stage lost its partition) are let go after this long.
OPEN_SECONDS_MAX: Final = 600.0
# Ids of lost prompts wait for the runtime, which asks within a poll; more than this is more than a lane
# holds.
_LOST_MAX: Final = 100_000


@dataclass(slots=True, eq=False)
class Send:
    """One prompt on its way."""

    prompt: PromptInfo
    slot: int
    at: float
    uncached: float
    blocks: tuple[int, ...]
    """Those that its worker had not announced: what it is about to hold."""
    is_prefilling: bool = True
    is_open: bool = True
    is_fresh: bool = True
    """Its worker has said nothing since."""


class Sends:
    """Own sends by slot. Follows the fleet lazily: `catch_up` before anything is read."""

    def __init__(self, fleet: Fleet, *, instances: float = 1.0) -> None:
        self._fleet = fleet
        self.instances = instances
        """Routers that share the load, this one included: what they sent meanwhile is taken to be like its own."""
        self._version = -1
        self._generation: list[int] = []
        self._open: dict[str, Send] = {}
        self._recent: list[deque[Send]] = []
        """Per slot, sends that the worker's last record does not know of yet."""
        self._held: deque[Send] = deque()
        self._counts: dict[tuple[int, int], int] = {}
        self.blocks: dict[int, int] = {}
        """Block hash -> bits of the slots that it was sent to within the last TTL_SECONDS."""
        self.fresh_tokens = np.zeros(0)
        """Per slot, uncached tokens sent after the worker's last record and without a first token."""
        self.fresh = np.zeros(0)
        """Per slot, prompts sent after the worker's last record."""
        self.fresh_context: list[float] = []
        """Per slot, prompt tokens sent after the worker's last record."""
        self.open: list[int] = []
        """Per slot, own prompts not finished."""
        self.open_tokens: list[float] = []
        """Per slot, uncached prompt tokens of own prompts without a first token."""
        self.open_context: list[float] = []
        """Per slot, prompt tokens of own prompts not finished."""
        self.lost: deque[str] = deque(maxlen=_LOST_MAX)
        """Prompts that were open on workers forgotten since somebody emptied this."""
        self._unheard: set[int] = set()
        """Slots that were sent something since they spoke."""
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._open)

    def catch_up(self, now: float) -> tuple[int, ...]:
        """Follows the fleet's records and the time. Returns the slots whose worker was forgotten
        meanwhile."""
        while self._held and now - self._held[0].at > TTL_SECONDS:
            self._release(self._held.popleft())
        if self._open:
            oldest = next(iter(self._open.values()))
            if now - oldest.at > OPEN_SECONDS_MAX:
                self.finished(oldest.prompt.id)
        fleet = self._fleet
        if fleet.version == self._version:
            return ()
        self._version = fleet.version
        self._fit()
        forgotten: tuple[int, ...] = ()
        if fleet.forgotten != self._forgotten:
            self._forgotten = fleet.forgotten
            forgotten = tuple(i for i, g in enumerate(fleet.generation) if g != self._generation[i])
            for slot in forgotten:
                self._generation[slot] = fleet.generation[slot]
                self._forget(slot)
        for slot in tuple(self._unheard):
            self._hear(slot, float(fleet.ts[slot]))
        return forgotten

    def _hear(self, slot: int, ts: float) -> None:
        """The worker's last record knows of everything that was sent until `ts`."""
        recent = self._recent[slot]
        while recent and recent[0].at <= ts:
            send = recent.popleft()
            send.is_fresh = False
            self.fresh[slot] -= 1
            self.fresh_context[slot] -= send.prompt.tokens
            if send.is_prefilling:
                self.fresh_tokens[slot] -= send.uncached
        if not recent:
            self.fresh_tokens[slot] = 0.0  # no residue of rounding
            self._unheard.discard(slot)

    def add(self, prompt: PromptInfo, slot: int, uncached: float, announced: int, now: float) -> None:
        """Records a send; `announced`: how many of its leading blocks the worker itself announced. Those
        need no entry here: they have just been touched, so they are the last that the worker gives up."""
        self.finished(prompt.id)  # sent again: the earlier send is void
        send = Send(prompt, slot, now, uncached, prompt.blocks[announced:])
        self._open[prompt.id] = send
        self._recent[slot].append(send)
        self._unheard.add(slot)
        self.fresh[slot] += 1
        self.fresh_context[slot] += prompt.tokens
        self.open[slot] += 1
        self.fresh_tokens[slot] += uncached
        self.open_tokens[slot] += uncached
        self.open_context[slot] += prompt.tokens
        if send.blocks:
            self._hold(send)

    def first_token(self, prompt_id: str) -> None:
        """Its prefill is done: it delays nobody's first token any more."""
        send = self._open.get(prompt_id)
        if send is not None and send.is_prefilling:
            send.is_prefilling = False
            self.open_tokens[send.slot] -= send.uncached
            if send.is_fresh:
                self.fresh_tokens[send.slot] -= send.uncached

    def finished(self, prompt_id: str) -> Send | None:
        """Done, failed or given up; the send, if it was known."""
        self.first_token(prompt_id)
        send = self._open.pop(prompt_id, None)
        if send is not None and send.is_open:
            send.is_open = False
            self.open[send.slot] -= 1
            self.open_context[send.slot] -= send.prompt.tokens
        return send

    @property
    def any_fresh(self) -> bool:
        """Some worker was sent something since it spoke."""
        return bool(self._unheard)

    def pending_tokens(self) -> Floats:
        """Per slot, uncached prompt tokens before a new prompt: announced, and sent since by all routers."""
        return self._fleet.pend + self.fresh_tokens * self.instances

    def requests(self, slot: int) -> float:
        """Prompts at a worker: announced as running or waiting, and sent since by all routers."""
        state = self._fleet[slot].state
        return state.running + state.waiting + float(self.fresh[slot]) * self.instances

    def outstanding(self, slot: int) -> tuple[str, ...]:
        """Ids of the prompts sent to this slot and not finished."""
        return tuple(s.prompt.id for s in self._open.values() if s.slot == slot)

    def _fit(self) -> None:
        fleet = self._fleet
        for slot in range(len(self._recent), len(fleet.by_slot)):
            self._recent.append(deque())
            self._generation.append(fleet.generation[slot])
            self.fresh_context.append(0.0)
            self.open.append(0)
            self.open_tokens.append(0.0)
            self.open_context.append(0.0)
        if len(self.fresh_tokens) != len(fleet.gone):
            for name in ("fresh", "fresh_tokens"):
                grown = np.zeros(len(fleet.gone))
                grown[: len(getattr(self, name))] = getattr(self, name)
                setattr(self, name, grown)

    def _hold(self, send: Send) -> None:
        self._held.append(send)
        slot, counts, bits, bit = send.slot, self._counts, self.blocks, 1 << send.slot
        for block in send.blocks:
            key = (block, slot)
            count = counts.get(key, 0)
            counts[key] = count + 1
            if not count:
                bits[block] = bits.get(block, 0) | bit

    def _release(self, send: Send) -> None:
        slot, counts, bits = send.slot, self._counts, self.blocks
        for block in send.blocks:
            key = (block, slot)
            count = counts[key] - 1
            if count:
                counts[key] = count
                continue
            del counts[key]
            left = bits[block] & ~(1 << slot)
            if left:
                bits[block] = left
            else:
                del bits[block]

    def _forget(self, slot: int) -> None:
        for send in [s for s in self._held if s.slot == slot]:
            self._release(send)
        self._held = deque(s for s in self._held if s.slot != slot)
        for send in [s for s in self._open.values() if s.slot == slot]:
            del self._open[send.prompt.id]
            send.is_open = False
            self.lost.append(send.prompt.id)
        self._recent[slot].clear()
        self._unheard.discard(slot)
        self.fresh[slot] = 0.0
        self.open[slot] = 0
        self.fresh_context[slot] = 0.0
        self.open_tokens[slot] = self.open_context[slot] = 0.0
        self.fresh_tokens[slot] = 0.0
