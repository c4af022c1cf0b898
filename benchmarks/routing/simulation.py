"""Requests, independent routers and engines in one event loop: what one policy does with one trace."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.routing.engine import SimulatedWorker
from benchmarks.routing.hardware import Hardware
from benchmarks.routing.trace import Call, Trace
from workers.routing import (
    Fleet,
    Fork,
    NoLaneError,
    Policy,
    PromptInfo,
    Router,
    WorkerState,
    kappa,
    pack_blocks,
)

MODEL = "simulated"
# After the last arrival. A policy that starves a request, or a fleet far too small for its trace, ends here and is reported.
DRAIN_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A worker that dies and comes back empty."""

    worker: int
    dies: float
    returns: float


@dataclass(frozen=True, slots=True)
class Setup:
    """What is around the policy."""

    workers: int = 8
    routers: int = 6
    """Independent ones; a request's calls of one stage go through one of them."""
    hardware: Hardware = field(default_factory=Hardware)
    slow: tuple[tuple[int, float], ...] = ()
    """(worker, factor on every step's time)."""
    faults: tuple[Fault, ...] = ()
    state_age: float = 0.05
    """Mean age of what routers know: announced every `state_age`, heard after half of it."""
    hop: float = 0.002
    """Seconds from one process to another through Kafka."""


@dataclass(slots=True)
class Result:
    """Latencies per request or call, seconds, warm-up left out."""

    requests: list[float] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    """When each of `requests` came."""
    ttft: list[float] = field(default_factory=list)
    hit_rate: float = 0.0
    preemptions: int = 0
    mean_running: float = 0.0
    unfinished: int = 0


class Simulation:
    """One run. The same trace, setup and seed give the same result."""

    def __init__(
        self, trace: Trace, setup: Setup, make: Callable[[], Policy], seed: int, *, warm: float = 0.15
    ) -> None:
        self.trace, self.setup = trace, setup
        self.rng = random.Random(seed)
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0
        slow = dict(setup.slow)
        self.hardware = [
            setup.hardware if i not in slow else replace(setup.hardware, slowness=slow[i]) for i in range(setup.workers)
        ]
        self.workers: list[SimulatedWorker | None] = [SimulatedWorker(h) for h in self.hardware]
        self.epochs = [1] * setup.workers
        self.sequence = [0] * setup.workers
        self.last_said = [-math.inf] * setup.workers
        self.fleet = Fleet(MODEL)
        self.routers = [
            Router(self.fleet, make(), random.Random(seed * 1000 + i), instances=float(setup.routers))
            for i in range(setup.routers)
        ]
        calls = trace.calls
        self.missing = [c.needs for c in calls]
        self.placed_on: list[Router | None] = [None] * len(calls)
        self.attempt = [0] * len(calls)
        self.fired: set[tuple[int, int]] = set()
        self.stage_number = {stage: n for n, stage in enumerate(sorted({c.stage for c in calls}))}
        self.done = [False] * len(calls)
        self.first_at = [math.nan] * len(calls)
        self.issued_at = [math.nan] * len(calls)
        self.left = [len(members) for members in trace.roots]
        self.finished_at = [math.nan] * len(trace.roots)
        self.group_issued = [0] * len(trace.groups)
        self.group_done = [0] * len(trace.groups)
        self.group_open = [len(g.origins) for g in trace.groups]
        self.groups_of_origin: dict[int, list[int]] = {}
        for number, group in enumerate(trace.groups):
            for origin in group.origins:
                self.groups_of_origin.setdefault(origin, []).append(number)
        self.group_sizes: dict[str, tuple[int, int]] = {}
        self.unrouted: list[int] = []
        self.warm = warm
        self.open_requests = len(trace.roots)

    # --- the loop ---

    def at(self, time: float, action: Callable[..., None], *args: object) -> None:
        self._count += 1
        heapq.heappush(self.events, (time, self._count, action, args))

    def run(self) -> Result:
        """Until every request has finished."""
        for worker in range(self.setup.workers):
            self.announce(worker, 1)
            self.at(self.rng.random() * self.setup.state_age, self.tick, worker, 1)
        for call in self.trace.calls:
            if not call.needs:
                self.at(call.t + call.delay + 1.0, self.issue, call.index)
        for fault in self.setup.faults:
            self.at(fault.dies + 1.0, self.die, fault.worker)
            self.at(fault.returns + 1.0, self.come_back, fault.worker)
        self.at(0.1, self.sweep)
        events = self.events
        end = self.trace.seconds + DRAIN_SECONDS
        while events and self.open_requests and self.now < end:
            self.now, _, action, args = heapq.heappop(events)
            action(*args)
        return self.result()

    def result(self) -> Result:
        trace, result = self.trace, Result(unfinished=self.open_requests)
        begin = self.warm * trace.seconds
        for root, arrival in enumerate(trace.arrivals):
            if arrival >= begin and not math.isnan(self.finished_at[root]):
                result.requests.append(self.finished_at[root] - 1.0 - arrival)
                result.arrivals.append(arrival)
        result.ttft = [
            self.first_at[c.index] - self.issued_at[c.index]
            for c in trace.calls
            if c.t >= begin and not math.isnan(self.first_at[c.index])
        ]
        live = [w for w in self.workers if w is not None]
        result.hit_rate = sum(w.hits for w in live) / max(1, sum(w.prompt_tokens for w in live))
        result.preemptions = sum(w.preemptions for w in live)
        return result

    # --- calls ---

    def issue(self, index: int) -> None:
        """Its last trigger came and its delay is over: the stage renders and routes it."""
        call = self.trace.calls[index]
        if call.group >= 0:
            self.group_issued[call.group] += 1
        self.issued_at[index] = self.now
        self.route(index)

    def route(self, index: int) -> None:
        call = self.trace.calls[index]
        router = self.routers[(call.root + self.stage_number[call.stage]) % len(self.routers)]
        prompt = self.prompt(call)
        try:
            choice = router.choose(prompt, self.now)
        except NoLaneError:
            self.unrouted.append(index)
            return
        router.sent(prompt, choice, self.now)
        self.placed_on[index] = router
        self.attempt[index] += 1
        worker = int(choice.worker[1:])
        self.at(self.now + self.setup.hop, self.arrive, index, worker, choice.epoch, kappa(prompt.fork))

    def prompt(self, call: Call) -> PromptInfo:
        return PromptInfo(
            id=str(call.index),
            request=str(call.root),
            arrived=call.t,
            stage=call.stage,
            tokens=call.tokens,
            blocks=call.blocks,
            fork=self.fork(call.group) if call.group >= 0 else None,
        )

    def fork(self, number: int) -> Fork:
        group = self.trace.groups[number]
        groups, siblings = self.group_sizes.get(group.stage, (0, 0))
        size = len(group.calls)
        return Fork(
            size=None if self.group_open[number] else size,
            siblings=self.group_issued[number],
            unfinished=size - self.group_done[number],
            mean_size=siblings / groups if groups else 0.0,
        )

    def arrive(self, index: int, worker: int, epoch: int, kappa_: float) -> None:
        engine = self.workers[worker]
        if engine is None or self.epochs[worker] != epoch:
            return  # it lies in the lane of a dead worker; `sweep` finds it
        call = self.trace.calls[index]
        before = engine.due
        engine.arrive(call, call.t, kappa_, self.now)
        if engine.due != before:
            self.at(engine.due, self.advance, worker, epoch)

    def advance(self, worker: int, epoch: int) -> None:
        engine = self.workers[worker]
        if engine is None or self.epochs[worker] != epoch or engine.due != self.now:
            return  # died, or the steps were cut short
        outcome = engine.advance(self.now)
        if engine.due < math.inf:
            self.at(engine.due, self.advance, worker, epoch)
        hop = self.setup.hop
        for call in outcome.first:
            if math.isnan(self.first_at[call.index]):
                self.first_at[call.index] = self.now
            self.at(self.now + hop, self.hear_first, call.index)
        for call, entry in outcome.triggered:
            if (call.index, entry) not in self.fired:
                self.fired.add((call.index, entry))
                self.trigger(call.at_token[entry][1])
        for sequence in outcome.finished:
            call = sequence.call
            self.at(self.now + hop, self.hear_end, call.index, call.out)
            self.complete(call)

    def trigger(self, target: int) -> None:
        self.missing[target] -= 1
        if not self.missing[target]:
            self.at(self.now + self.setup.hop + self.trace.calls[target].delay, self.issue, target)

    def complete(self, call: Call) -> None:
        index = call.index
        if self.done[index]:
            return
        self.done[index] = True
        for target in call.when_done:
            self.trigger(target)
        if call.group >= 0:
            self.group_done[call.group] += 1
        for number in self.groups_of_origin.get(index, ()):
            self.group_open[number] -= 1
            if not self.group_open[number]:
                stage = self.trace.groups[number].stage
                groups, siblings = self.group_sizes.get(stage, (0, 0))
                self.group_sizes[stage] = (groups + 1, siblings + len(self.trace.groups[number].calls))
        self.left[call.root] -= 1
        if not self.left[call.root]:
            self.finished_at[call.root] = self.now
            self.open_requests -= 1

    def hear_first(self, index: int) -> None:
        router = self.placed_on[index]
        if router is not None:
            router.first_token(str(index), self.now)

    def hear_end(self, index: int, out: int) -> None:
        router = self.placed_on[index]
        if router is not None:
            router.finished(str(index), self.now, output_tokens=out)

    # --- workers ---

    def tick(self, worker: int, epoch: int) -> None:
        engine = self.workers[worker]
        if engine is None or self.epochs[worker] != epoch:
            return
        if engine.changed or self.now - self.last_said[worker] >= 0.4:
            self.announce(worker, epoch)
        self.at(self.now + max(self.setup.state_age, 0.002), self.tick, worker, epoch)

    def announce(self, worker: int, epoch: int) -> None:
        engine = self.workers[worker]
        if engine is None:
            return
        first = self.sequence[worker] == 0
        state = WorkerState.model_construct(  # trusted: skips the checks, which take longer than the decision
            worker=f"w{worker}",
            epoch=epoch,
            sequence=self.sequence[worker],
            model=MODEL,
            lanes=(worker,),
            ts=self.now,
            leaving=False,
            pend=max(0.0, engine.pending),
            rate=engine.measured.rate,
            base=engine.measured.base,
            further=engine.further,
            places=engine.hardware.sequences,
            share=engine.measured.share_at(self.now),
            crit=engine.kappa,
            running=engine.running_count,
            waiting=engine.waiting_count,
            context=float(engine.context),
            free_blocks=engine.free_blocks,
            blocks=engine.hardware.kv_tokens // engine.hardware.block,
            hashing="tokens/32",
            tokens_per_byte=0.25,
            outputs={},
            full=first,
            added=pack_blocks(sorted(engine.added)) if engine.added else "",
            removed=pack_blocks(sorted(engine.removed)) if engine.removed else "",
        )
        engine.added.clear()
        engine.removed.clear()
        engine.changed = False
        self.sequence[worker] += 1
        self.last_said[worker] = self.now
        self.at(self.now + self.setup.state_age / 2, self.hear, state)

    def hear(self, state: WorkerState) -> None:
        self.fleet.update(state, self.now)
        if self.unrouted:
            waiting, self.unrouted = self.unrouted, []
            for index in waiting:
                self.route(index)

    def sweep(self) -> None:
        """Ten times a second every router looks for silent workers and sends their prompts again."""
        for router in self.routers:
            for prompt_id in router.expire(self.now):
                index = int(prompt_id)
                if not self.done[index]:
                    self.route(index)
        self.at(self.now + 0.1, self.sweep)

    def die(self, worker: int) -> None:
        self.workers[worker] = None

    def come_back(self, worker: int) -> None:
        self.epochs[worker] += 1
        self.sequence[worker] = 0
        self.workers[worker] = SimulatedWorker(self.hardware[worker])
        self.announce(worker, self.epochs[worker])
        self.tick(worker, self.epochs[worker])


def quantile(values: Sequence[float], q: float) -> float:
    """Linear between neighbours; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)
