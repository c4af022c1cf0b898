"""The workers of one model as they announced themselves: who lives, what each has to do, who holds which
blocks.

A process has one Fleet a model, shared by the routers of all its stage instances. Each worker sits in a
*slot*, a small number that indexes numpy columns and bits of the prefix index; a slot is reused after its
worker is gone.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.routing.blocks import unpack_blocks
from workers.routing.state import WorkerState

Floats = NDArray[np.float64]

SILENT_SECONDS: Final = 1.0
"""A worker not heard of for this long gets nothing more. It announces at least every 0.5 s: one record may
be late."""
# Entries (block, worker) that a fleet remembers, about 110 bytes each: 220 MB at the very most, and only
# when 160 workers of 400 k KV tokens are full of different text.
INDEX_ENTRIES_MAX: Final = 2_000_000
# Workers disagree on a stage's mean output by chance only; each record moves the common mean by this much.
OUTPUTS_WEIGHT: Final = 0.05
OUTPUTS_MAX: Final = 1_024
# A forgotten worker's epoch is remembered so that its late records do not revive it; this many are.
_EPOCHS_REMEMBERED: Final = 10_000


class Heard(enum.Enum):
    """What a record of a worker meant."""

    JOINED = "joined"
    UPDATED = "updated"
    RESTARTED = "restarted"
    LEFT = "left"
    IGNORED = "ignored"


@dataclass(slots=True)
class Member:
    """One worker in its slot."""

    slot: int
    state: WorkerState
    heard: float
    """Router time of the last live record."""
    is_live: bool
    clock_ahead: float
    """Least (router's time − worker's time) seen: transport time plus the difference of the two clocks."""
    blocks: set[int] = field(default_factory=set)
    is_complete: bool = True
    """No record was missed since the last snapshot: what is not in `blocks` is not cached there."""
    unlisted: int = 0
    """Announced blocks left out because the index is full."""


class Fleet:
    """Announced state of one model's workers. No clock: every call brings `now`, seconds since 1970."""

    def __init__(self, model: str, *, entries_max: int = INDEX_ENTRIES_MAX) -> None:
        self.model = model
        self.version = 0
        """Changes whenever anything here does; routers catch up on it."""
        self.members: dict[str, Member] = {}
        self.by_slot: list[Member | None] = []
        self.generation: list[int] = []
        """Per slot, raised when its worker was forgotten."""
        self.forgotten = 0
        """How often any was."""
        self.index: dict[int, int] = {}
        """Block hash -> bits of the slots that announced it."""
        self.outputs: dict[str, float] = {}
        """Mean output tokens a stage, a moving mean of what workers announce."""
        self.live_bits = 0
        self._entries_max = entries_max
        self._old_epochs: dict[str, int] = {}
        self._live: list[int] | None = []
        self.gone = np.full(8, np.inf)
        """0 where a live worker sits, else infinity: added to a cost, it rules the slot out."""
        self.pend, self.rate, self.ts = np.zeros(8), np.ones(8), np.zeros(8)
        self.second_a_token = np.ones(8)
        """1 / rate: a product is cheaper than a quotient."""
        self.free_at = np.zeros(8)
        """When it will have computed what it announced as pending: ts + pend / rate."""
        self.prompts = np.zeros(8)
        """Prompts that decode or wait there."""
        self.itl = np.zeros(8)
        """Expected seconds between two tokens: base step / (1 − prefill share)."""
        self.further = np.zeros(8)
        """What one more running prompt adds to it."""
        self.places = np.full(8, np.inf)
        """Prompts that run at once."""
        self.most_further = 0.0
        """The largest of `further`, of workers that may be gone."""
        self.salt = np.zeros(8, dtype=np.uint64)
        """Per slot, a hash of the worker id."""

    def _grow(self) -> None:
        more = len(self.gone)
        self.gone = np.concatenate([self.gone, np.full(more, np.inf)])
        self.rate = np.concatenate([self.rate, np.ones(more)])
        self.second_a_token = np.concatenate([self.second_a_token, np.ones(more)])
        self.pend, self.ts, self.free_at, self.itl, self.further, self.prompts = (
            np.concatenate([column, np.zeros(more)])
            for column in (self.pend, self.ts, self.free_at, self.itl, self.further, self.prompts)
        )
        self.places = np.concatenate([self.places, np.full(more, np.inf)])
        self.salt = np.concatenate([self.salt, np.zeros(more, dtype=np.uint64)])

    # --- records
    # -------------------------------------------------------------------------------------------------

    def update(self, state: WorkerState, now: float, *, replayed: bool = False) -> Heard:
        """Takes one record in. A `replayed` one, read from the topic's past at start, tells of blocks and
        epochs but does not make its worker live: that takes a record written since."""
        if state.model != self.model:
            return Heard.IGNORED
        member = self.members.get(state.worker)
        if member is None:
            if state.epoch < self._old_epochs.get(state.worker, 0) or state.leaving:
                return Heard.IGNORED
            member = self._join(state, now)
            outcome = Heard.JOINED
        elif state.epoch < member.state.epoch:
            return Heard.IGNORED  # the older of two processes with one id, or its last words
        elif state.epoch > member.state.epoch:
            self._forget(member)
            member = self._join(state, now)
            outcome = Heard.RESTARTED
        elif state.sequence <= member.state.sequence:
            return Heard.IGNORED
        else:
            outcome = Heard.UPDATED
            if state.sequence != member.state.sequence + 1:
                member.is_complete = False
        if state.leaving:
            self._forget(member)
            self.version += 1
            return Heard.LEFT
        member.state = state
        self._take_blocks(member, state)
        self._take_load(member, state, now)
        self._take_outputs(state)
        if not replayed:
            member.heard = now
            if member.is_live != bool(state.lanes):
                member.is_live = bool(state.lanes)
                self._revive(member)
        self.version += 1
        return outcome

    def expire(self, now: float) -> tuple[str, ...]:
        """Forgets the workers that were silent for SILENT_SECONDS and names them. Cheap: call it often."""
        silent = [m for m in self.members.values() if now - m.heard > SILENT_SECONDS]
        for member in silent:
            self._forget(member)
        self.version += bool(silent)
        return tuple(m.state.worker for m in silent)

    def _join(self, state: WorkerState, now: float) -> Member:
        slot = next((i for i, m in enumerate(self.by_slot) if m is None), len(self.by_slot))
        if slot == len(self.by_slot):
            self.by_slot.append(None)
            self.generation.append(0)
            if slot >= len(self.gone):
                self._grow()
        member = Member(slot, state, now, is_live=False, clock_ahead=now - state.ts, is_complete=state.full)
        self.members[state.worker] = self.by_slot[slot] = member
        digest = hashlib.blake2b(state.worker.encode(), digest_size=8).digest()
        self.salt[slot] = int.from_bytes(digest, "little")
        self._old_epochs.pop(state.worker, None)
        return member

    def _forget(self, member: Member) -> None:
        slot, worker = member.slot, member.state.worker
        self._drop_blocks(member, tuple(member.blocks))
        member.is_live = False
        self._revive(member)
        self.by_slot[slot] = None
        self.generation[slot] += 1
        self.forgotten += 1
        del self.members[worker]
        self._old_epochs[worker] = member.state.epoch
        if len(self._old_epochs) > _EPOCHS_REMEMBERED:
            del self._old_epochs[next(iter(self._old_epochs))]

    def _revive(self, member: Member) -> None:
        bit = 1 << member.slot
        self.gone[member.slot] = 0.0 if member.is_live else np.inf
        self.live_bits = self.live_bits | bit if member.is_live else self.live_bits & ~bit
        self._live = None

    def _take_load(self, member: Member, state: WorkerState, now: float) -> None:
        slot = member.slot
        member.clock_ahead = min(member.clock_ahead, now - state.ts)
        self.pend[slot], self.rate[slot], self.second_a_token[slot] = state.pend, state.rate, 1.0 / state.rate
        self.prompts[slot] = state.running + state.waiting
        left = 1.0 - min(state.share, 0.9)
        self.itl[slot], self.further[slot] = state.base / left, state.further / left
        self.places[slot] = state.places or np.inf
        self.most_further = max(self.most_further, state.further)
        # Clocks that agree to 0.25 s are believed; beyond, the fastest record seen is taken to have
        # travelled for no time, which costs the precision of one transport delay.
        is_plausible = -0.01 <= member.clock_ahead <= 0.25
        self.ts[slot] = state.ts if is_plausible else min(now, state.ts + member.clock_ahead)
        self.free_at[slot] = self.ts[slot] + state.pend / state.rate

    def _take_outputs(self, state: WorkerState) -> None:
        for stage, tokens in state.outputs.items():
            mean = self.outputs.get(stage)
            if mean is not None:
                self.outputs[stage] = mean + OUTPUTS_WEIGHT * (tokens - mean)
            elif len(self.outputs) < OUTPUTS_MAX:
                self.outputs[stage] = tokens

    def _take_blocks(self, member: Member, state: WorkerState) -> None:
        added = unpack_blocks(state.added) if state.added else ()
        if state.full:
            held = set(added)
            self._drop_blocks(member, [b for b in member.blocks if b not in held])
            member.is_complete, member.unlisted = True, 0
        elif state.removed:
            self._drop_blocks(member, unpack_blocks(state.removed))
        if added:
            self._add_blocks(member, added)

    def _add_blocks(self, member: Member, hashes: Iterable[int]) -> None:
        bit, index, mine = 1 << member.slot, self.index, member.blocks
        room = self._entries_max // len(self.members) - len(mine)
        for block in hashes:
            if block in mine:
                continue
            if room <= 0:
                member.unlisted += 1
                continue
            room -= 1
            mine.add(block)
            index[block] = index.get(block, 0) | bit

    def _drop_blocks(self, member: Member, hashes: Sequence[int]) -> None:
        keep, index, mine = ~(1 << member.slot), self.index, member.blocks
        for block in hashes:
            if block in mine:
                mine.discard(block)
                left = index[block] & keep
                if left:
                    index[block] = left
                else:
                    del index[block]

    # --- what policies ask
    # ---------------------------------------------------------------------------------------

    def slots(self) -> list[int]:
        """Slots of the live workers, ascending. Not to be changed by the caller."""
        if self._live is None:
            self._live = [i for i, m in enumerate(self.by_slot) if m is not None and m.is_live]
        return self._live

    def __getitem__(self, slot: int) -> Member:
        member = self.by_slot[slot]
        if member is None:
            raise IndexError(f"slot {slot} is empty")
        return member

    @property
    def entries(self) -> int:
        """(block, worker) pairs in the index."""
        return sum(len(m.blocks) for m in self.members.values())

    def cached_blocks(self, blocks: Sequence[int], sent: Mapping[int, int]) -> Floats:
        """Per slot, how many leading `blocks` the worker announced or was sent (`sent`: block -> bits of
        slots).

        One walk over the chain with the set of slots that still hold everything, as bits of one integer:
        the cost is that of the blocks, two lookups each, and hardly depends on the number of workers.
        """
        depth = np.zeros(len(self.gone))
        holding = self.live_bits
        if not holding:
            return depth
        announced_of, sent_of = self.index.get, sent.get
        ends: list[tuple[int, int]] = []  # (blocks held, bits of the slots that hold no more)
        end = 0
        for block in blocks:
            still = (announced_of(block, 0) | sent_of(block, 0)) & holding
            if still != holding:
                if end:
                    ends.append((end, holding ^ still))
                holding = still
                if not still:
                    break
            end += 1
        if holding and end:
            ends.append((end, holding))
        _spread(ends, depth)
        return depth


def _spread(ends: Sequence[tuple[int, int]], depth: Floats) -> None:
    """Writes each length to its slots; bit by bit where they are few, as one matrix where they are many."""
    if sum(bits.bit_count() for _, bits in ends) <= 80:
        for length, bits in ends:
            left = bits
            while left:
                low = left & -left
                depth[low.bit_length() - 1] = length
                left ^= low
        return
    width = (len(depth) + 7) // 8
    packed = np.frombuffer(b"".join([bits.to_bytes(width, "little") for _, bits in ends]), dtype=np.uint8)
    rows = np.unpackbits(packed, bitorder="little").reshape(len(ends), width * 8)[:, : len(depth)]
    # No slot is in two sets, so that "or" adds up; bytes are four times as fast here as a product of matrices.
    lengths = np.array([length for length, _ in ends], dtype=np.uint32)[:, None]
    if ends[-1][0] < 256:
        depth[:] = np.bitwise_or.reduce(rows * lengths.astype(np.uint8), axis=0)
    else:
        depth[:] = np.bitwise_or.reduce(rows * lengths, axis=0)
