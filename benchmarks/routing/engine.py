"""One engine with continuous batching: chunked prefill, a block prefix cache with LRU, preemption.

A step takes `overhead + prefill·tokens + attention·tokens·tokens before + decode·sequences + context·KV tokens`
seconds. Every decoding sequence gets one token a step, so the state of the batch is a step counter, the number of
sequences and their context: a step costs the same however many sequences run, and steps without prefill are taken many
at a time. No clock, no chance: the simulation calls `arrive` and `advance` and asks for `due`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field

from benchmarks.routing.hardware import Hardware
from benchmarks.routing.measured import Measured
from benchmarks.routing.trace import Call


class Sequence:
    """One call at one engine."""

    __slots__ = (
        "call",
        "done",
        "estimate",
        "generated",
        "held",
        "kappa",
        "left",
        "matched",
        "priority",
        "private",
        "serial",
        "started_step",
    )

    def __init__(self, call: Call, priority: float, kappa: float, serial: int) -> None:
        self.call = call
        self.priority = priority
        self.kappa = kappa
        self.serial = serial
        self.generated = 0
        self.estimate = 0  # tokens counted in `pending` for it
        self.left = 0  # prompt tokens still to compute
        self.matched = -1  # cached blocks found at admission
        self.held = 0  # leading blocks that it references in the cache
        self.private = 0  # tokens of KV room that are its own
        self.started_step = 0  # step at which its latest run of decoding began
        self.done = False


@dataclass(slots=True)
class Outcome:
    """What a step brought."""

    first: list[Call] = field(default_factory=list)
    triggered: list[tuple[Call, int]] = field(default_factory=list)
    """(call, number of its `at_token` entry)."""
    finished: list[Sequence] = field(default_factory=list)


class SimulatedWorker:
    """The engine and what its worker announces."""

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware
        self.due = math.inf
        """When the steps under way end."""
        self.refs: dict[int, int] = {}
        self.idle: dict[int, None] = {}  # cached blocks that nobody references, least recently used first
        self.added: set[int] = set()
        self.removed: set[int] = set()
        self.waiting: list[tuple[float, int, Sequence]] = []
        self.prefilling: deque[Sequence] = deque()
        self.chunks: list[tuple[Sequence, int]] = []
        self.decoding: set[Sequence] = set()
        self.context = 0
        self.step = 0
        self.ends: list[
            tuple[int, int, int, Sequence]
        ] = []  # (step, serial, number of the `at_token` entry or, for the end, how many there are, sequence)
        self.private = 0
        self.pending = 0.0
        self.kappa = 0.0
        self.changed = True
        self._serial = 0
        self._run = 0
        self._began = 0.0
        self._run_seconds = 0.0
        self._in_prefill = 0.0
        self.measured = Measured(hardware)
        self.prefilled = 0
        self.hits = 0
        self.prompt_tokens = 0
        self.preemptions = 0

    # --- arrivals ---

    def arrive(self, call: Call, priority: float, kappa: float, now: float) -> None:
        """A prompt reached the worker."""
        self._serial += 1
        sequence = Sequence(call, priority, kappa, self._serial)
        self.kappa += kappa
        self._enqueue(sequence)
        if self.due == math.inf:
            self._plan(now)
        elif self._run > 1:
            self._shorten(now)

    def _enqueue(self, sequence: Sequence) -> None:
        call = sequence.call
        sequence.estimate = call.tokens + sequence.generated - self._match(call) * self.hardware.block
        self.pending += sequence.estimate
        heapq.heappush(self.waiting, (sequence.priority, sequence.serial, sequence))
        self.changed = True

    def _match(self, call: Call) -> int:
        refs, count = self.refs, 0
        for block in call.blocks:
            if block not in refs:
                break
            count += 1
        return min(count, (call.tokens - 1) // self.hardware.block)

    # --- time ---

    def advance(self, now: float) -> Outcome:
        """The steps under way end at `due` = now. Plans the next ones."""
        outcome = Outcome()
        self.measured.steps(self._run, self._run_seconds, self._in_prefill, sum(t for _, t in self.chunks), now)
        self.step += self._run
        self.context += len(self.decoding) * self._run
        self.private += len(self.decoding) * self._run
        for sequence, tokens in self.chunks:
            self._computed(sequence, tokens, outcome)
        self.chunks = []
        ends = self.ends
        while ends and ends[0][0] <= self.step:
            _, _, entry, sequence = heapq.heappop(ends)
            if sequence.done or sequence not in self.decoding:
                continue  # preempted meanwhile: its ends are set again when it decodes again
            if entry < len(sequence.call.at_token):
                outcome.triggered.append((sequence.call, entry))
            else:
                self._finish(sequence)
                outcome.finished.append(sequence)
        self.changed = True
        self._plan(now)
        return outcome

    def _computed(self, sequence: Sequence, tokens: int, outcome: Outcome) -> None:
        sequence.left -= tokens
        self.pending -= tokens
        self.prefilled += tokens
        if sequence.left:
            self.prefilling.append(sequence)
            return
        call = sequence.call
        self.decoding.add(sequence)
        if not sequence.generated:
            outcome.first.append(call)
        sequence.generated += 1
        sequence.private += 1
        self.private += 1
        self.context += call.tokens + sequence.generated
        before = sequence.generated - 1  # tokens that were out before this step
        sequence.started_step = self.step - sequence.generated  # then token i is out at started_step + i
        for number, (token, _) in enumerate(call.at_token):
            if token == before + 1:
                outcome.triggered.append((call, number))
            elif token > before:
                heapq.heappush(self.ends, (sequence.started_step + token, sequence.serial, number, sequence))
        if sequence.generated >= call.out:
            self._finish(sequence)
            outcome.finished.append(sequence)
        else:
            heapq.heappush(self.ends, (sequence.started_step + call.out, sequence.serial, len(call.at_token), sequence))

    def _finish(self, sequence: Sequence) -> None:
        self._leave(sequence)
        sequence.done = True
        self.kappa -= sequence.kappa

    def _leave(self, sequence: Sequence) -> None:
        """It decodes no more: its KV room is free, its prompt blocks stay cached."""
        self.decoding.discard(sequence)
        generated = self.step - sequence.started_step
        self.context -= sequence.call.tokens + generated
        self.private -= sequence.private + generated - sequence.generated
        sequence.generated = generated
        sequence.private = 0
        refs, idle = self.refs, self.idle
        for block in reversed(sequence.call.blocks[: sequence.held]):  # the tail is given up first
            left = refs[block] - 1
            refs[block] = left
            if not left:
                idle[block] = None
        sequence.held = 0

    # --- planning ---

    def _plan(self, now: float) -> None:
        hardware, decodes = self.hardware, len(self.decoding)
        self._make_room()
        decodes = len(self.decoding)
        tokens = self._fill(hardware.step_tokens - decodes)
        step = hardware.overhead + hardware.decode * decodes + hardware.context * self.context
        self._began, self._in_prefill = now, 0.0
        if tokens:
            self._in_prefill = self._prefill_seconds_of(self.chunks)
            self._run, seconds = 1, step + self._in_prefill
            self._in_prefill *= hardware.slowness
        elif decodes:
            room = self._room() // decodes
            self._run = run = max(1, min(self.ends[0][0] - self.step, room))
            seconds = run * step + hardware.context * decodes * run * (run - 1) / 2
        else:
            self._run, self.due = 0, math.inf
            return
        self._run_seconds = seconds * hardware.slowness
        self.due = now + self._run_seconds

    def _prefill_seconds_of(self, chunks: list[tuple[Sequence, int]]) -> float:
        hardware, seconds = self.hardware, 0.0
        for sequence, tokens in chunks:
            before = sequence.call.tokens + sequence.generated - sequence.left
            seconds += tokens * (hardware.prefill + hardware.attention * (before + tokens / 2))
        return seconds

    def _shorten(self, now: float) -> None:
        """A prompt came while many steps were planned: only those that have begun are taken."""
        hardware, decodes = self.hardware, len(self.decoding)
        step = (hardware.overhead + hardware.decode * decodes + hardware.context * self.context) * hardware.slowness
        growth = hardware.context * decodes * hardware.slowness / 2
        elapsed = now - self._began
        # elapsed = run·step + growth·run·(run − 1), solved for run
        linear = step - growth
        run = elapsed / step if growth <= 0 else 2 * elapsed / (linear + math.sqrt(linear**2 + 4 * growth * elapsed))
        whole = max(1, math.ceil(run - 1e-9))
        if whole < self._run:
            self._run = whole
            self._run_seconds = whole * step + growth * whole * (whole - 1)
            self.due = self._began + self._run_seconds

    def _fill(self, budget: int) -> int:
        """Gives the step's token budget to prompts: those begun first, then by priority. Returns the
        tokens."""
        used, chunks = 0, self.chunks
        while self.prefilling and used < budget:
            used += self._schedule(self.prefilling.popleft(), budget - used)
        while self.waiting and used < budget and len(self.decoding) + len(chunks) < self.hardware.sequences:
            sequence = self.waiting[0][2]
            if not self._admit(sequence):
                break
            heapq.heappop(self.waiting)
            used += self._schedule(sequence, budget - used)
        return used

    def _schedule(self, sequence: Sequence, budget: int) -> int:
        """A chunk of its prompt is computed in this step; returns its tokens."""
        tokens = min(sequence.left, budget)
        self.chunks.append((sequence, tokens))
        self._register(sequence, sequence.call.tokens + sequence.generated - sequence.left + tokens)
        return tokens

    def _room(self) -> int:
        """KV tokens that can still be given out, from free blocks and from cached ones that nobody uses."""
        hardware = self.hardware
        slack = (len(self.decoding) + len(self.chunks)) * hardware.block // 2  # half a block is empty at each tail
        return hardware.kv_tokens - (len(self.refs) - len(self.idle)) * hardware.block - self.private - slack

    def _admit(self, sequence: Sequence) -> bool:
        call, block = sequence.call, self.hardware.block
        matched = self._match(call)
        need = call.tokens + sequence.generated - matched * block
        wake = sum(1 for b in call.blocks[:matched] if not self.refs[b])
        if need + wake * block > self._room() and (self.decoding or self.chunks or self.prefilling):
            return False
        refs, idle = self.refs, self.idle
        for b in call.blocks[:matched]:
            if not refs[b]:
                del idle[b]
            refs[b] += 1
        sequence.held = sequence.matched = matched
        sequence.left = sequence.private = need
        self.private += need
        self.pending += need - sequence.estimate
        self.hits += matched * block
        self.prompt_tokens += call.tokens
        self._evict()
        return True

    def _register(self, sequence: Sequence, tokens: int) -> None:
        """The blocks of its first tokens are being computed: as in vLLM, whoever is admitted now shares them."""
        refs, idle, block = self.refs, self.idle, self.hardware.block
        blocks = sequence.call.blocks[sequence.held : tokens // block]
        for b in blocks:
            count = refs.get(b)
            if count is None:
                refs[b] = 1
                self.added.add(b)
                self.removed.discard(b)
            else:
                if not count:
                    del idle[b]
                refs[b] = count + 1
        moved = len(blocks) * block
        sequence.held += len(blocks)
        sequence.private -= moved
        self.private -= moved
        self._evict()

    def _evict(self) -> None:
        block = self.hardware.block
        over = (len(self.refs) * block + self.private - self.hardware.kv_tokens) // block
        while over > 0 and self.idle:
            victim = next(iter(self.idle))
            del self.idle[victim], self.refs[victim]
            self.removed.add(victim)
            self.added.discard(victim)
            over -= 1

    def _make_room(self) -> None:
        """Before a step: every decoding sequence needs room for one token. The latest request gives way."""
        while len(self.decoding) > 1 and self._room() < len(self.decoding):
            victim = max(self.decoding, key=lambda s: (s.priority, s.serial))
            self._leave(victim)
            self.preemptions += 1
            self._enqueue(victim)
        self._evict()

    # --- what is announced ---

    @property
    def further(self) -> float:
        """Seconds that one more prompt, of the usual length, adds to a step."""
        decodes = len(self.decoding)
        return (self.hardware.decode + self.hardware.context * self.context / max(decodes, 1)) * self.hardware.slowness

    @property
    def waiting_count(self) -> int:
        return len(self.waiting)

    @property
    def running_count(self) -> int:
        return len(self.decoding) + len(self.prefilling) + len(self.chunks)

    @property
    def free_blocks(self) -> int:
        return max(0, min(self._room(), self.hardware.kv_tokens) // self.hardware.block)

    def unfinished(self) -> list[Sequence]:
        """All that would be lost if it died now."""
        return [
            *(s for _, _, s in self.waiting), *self.prefilling, *(s for s, _ in self.chunks), *self.decoding,
        ]  # fmt: skip
