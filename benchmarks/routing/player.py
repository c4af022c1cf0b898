"""Plays a trace on real workers: each call is a prompt in a lane, its text is read back, and triggers what waits for it.

The routers are those of stage processes, one on its own for each of `routers`; prompts, lanes, texts and worker states go
through Kafka as they do in a pipeline. Only the stages are played.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.cimpl import NewTopic

from benchmarks.routing.dummy import MODEL, text
from benchmarks.routing.trace import Call, Spec, Trace, compiled
from streams.core.lineage import RunId, Serial
from streams.core.record import Envelope, Kind, parse_envelope
from streams.core.text import decode_piece
from streams.errors import BrokerError
from streams.runtime.consumer import POLL_SECONDS, READER_CONFIG, headers_of
from streams.runtime.producer import LoopProducer
from streams.runtime.route import PromptRecord
from streams.runtime.topics import control_topic, ensure_topics, prompts_topic
from streams.settings import KafkaSettings, PipelineSettings
from workers.service.router import KafkaRouter

PIPELINE: Final = "benchmark"
DEADLINE_SECONDS: Final = 900.0
KNOWN_SECONDS_MAX: Final = 90.0
"""Workers that are ready may wait for lanes: their group hands them over one member after another."""
_numbers: Final = itertools.count(1)


@dataclass(slots=True)
class Played:
    """Seconds, and the part of prompt tokens that was cached."""

    requests: list[float] = field(default_factory=list)
    ttft: list[float] = field(default_factory=list)
    hit_rate: float = math.nan
    seconds: float = 0.0


class Player:
    """`async with Player(kafka, settings, stages, routers=3, workers=3) as player: await player.play(specs, "descant")`."""

    def __init__(
        self, kafka: KafkaSettings, settings: PipelineSettings, stages: Sequence[str], *, routers: int, workers: int
    ) -> None:
        self._kafka, self._settings, self._stages = kafka, settings, sorted(set(stages))
        self._count, self._workers = routers, workers
        self._run: _Run | None = None
        self._is_open = True

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        topics = [NewTopic(t, 1, 1) for t in (control_topic(PIPELINE), *map(_topic, self._stages))]
        await asyncio.to_thread(ensure_topics, self._kafka, topics)
        self._producer = LoopProducer(self._kafka, self._fatal)
        self._thread = threading.Thread(target=self._read, name="texts", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_open = False
        await self._producer.close()
        await asyncio.to_thread(self._thread.join, 5)

    def _fatal(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    async def play(self, specs: Sequence[Spec], policy: str, *, salt: str) -> Played:
        """All of it, in real time. `salt` enters every text: another salt shares nothing with what was played before."""
        routers = [KafkaRouter(self._kafka, self._settings, policy) for _ in range(self._count)]
        try:
            await self._known(routers)
            before = _hits(routers[0])
            self._run = run = _Run(compiled(specs), specs, routers, self._producer, self._settings, salt)
            run.start()
            waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(run.done.wait()), self._failed]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            run.played.seconds = time.monotonic() - run.began
            await asyncio.sleep(1.0)  # the workers' last words of it
            prompted, cached = (a - b for a, b in zip(_hits(routers[0]), before, strict=True))
            run.played.hit_rate = cached / max(prompted, 1.0)
            return run.played
        finally:
            self._run = None
            await asyncio.gather(*(router.close() for router in routers))

    async def _known(self, routers: Sequence[KafkaRouter]) -> None:
        """Until every router hears every worker. Raises BrokerError, which says what was heard, when that takes long."""
        deadline = time.monotonic() + KNOWN_SECONDS_MAX
        while any(len(router.workers(MODEL)) < self._workers for router in routers):
            if time.monotonic() > deadline:
                heard = [[(s.worker, s.lanes) for s in router.workers(MODEL)] for router in routers]
                raise BrokerError(
                    f"after {KNOWN_SECONDS_MAX:.0f} s not every router hears {self._workers} workers that own lanes of "
                    f"{MODEL}; each hears: {heard}.",
                    code="broker.worker",
                )
            await asyncio.sleep(0.2)

    # -- texts, on a thread ----------------------------------------------------------------------------------------

    def _read(self) -> None:
        consumer = Consumer(
            {**self._kafka.client(), **READER_CONFIG, "auto.offset.reset": "latest", "group.id": PIPELINE}
        )
        consumer.assign([TopicPartition(_topic(stage), 0, -1) for stage in self._stages])
        while self._is_open:
            message = consumer.poll(POLL_SECONDS)
            if message is not None and message.error() is None:
                self._loop.call_soon_threadsafe(self._heard, message, time.monotonic())
        consumer.close()

    def _heard(self, message: Message, now: float) -> None:
        if self._run is not None:
            try:
                self._run.heard(parse_envelope(headers_of(message)), message.value(), now)
            except Exception as error:  # noqa: BLE001 (a callback's error reaches nobody by itself)
                self._fatal(error)


class _Run:
    """One policy on one trace."""

    def __init__(
        self,
        trace: Trace,
        specs: Sequence[Spec],
        routers: Sequence[KafkaRouter],
        producer: LoopProducer,
        settings: PipelineSettings,
        salt: str,
    ) -> None:
        self.trace, self._specs, self._routers, self._producer = trace, specs, routers, producer
        self._settings, self._salt = settings, salt
        self.played = Played()
        self.done = asyncio.Event()
        self.began = 0.0
        self._stage_number = {stage: n for n, stage in enumerate(sorted({c.stage for c in trace.calls}))}
        self._first_number = next(_numbers) * 10_000_000  # of runs and serials: never the same twice
        self._missing = [c.needs for c in trace.calls]
        self._left = [len(members) for members in trace.roots]
        self._sent_at = [0.0] * len(trace.calls)
        self._tokens = [0] * len(trace.calls)
        self._triggered = [0] * len(trace.calls)
        self._sibling = {c: n for group in trace.groups for n, c in enumerate(group.calls)}

    def start(self) -> None:
        self.began = time.monotonic()
        loop = asyncio.get_running_loop()
        for call in self.trace.calls:
            if not call.needs:
                loop.call_later(call.t + call.delay, self._send, call)

    def _serial(self, call: Call) -> Serial:
        """Siblings share their request's; a call outside of forks is a request's only one, to its router."""
        return Serial(0, self._first_number + (call.root if call.group >= 0 else 5_000_000 + call.index))

    def _router(self, call: Call) -> KafkaRouter:
        return self._routers[(call.root + self._stage_number[call.stage]) % len(self._routers)]

    def _send(self, call: Call) -> None:
        self._sent_at[call.index] = time.monotonic()
        ends_at = time.time() - (time.monotonic() - self.began) + call.t + DEADLINE_SECONDS
        envelope = Envelope(
            id=f"{self._first_number}-{call.root}",
            kind=Kind.ITEM,
            serial=self._serial(call),
            plan="trace",
            stage=call.stage,
            path=(self._sibling[call.index],) if call.group >= 0 else (),
            lin=(RunId(1, self._first_number + call.index),),
            deadline=int(ends_at * 1000),
        )
        router = self._router(call)
        record = PromptRecord(
            self._text(call), {"max_tokens": call.out}, _topic(call.stage), 0, envelope.id, router.weight(envelope)
        )
        lane = router.lane(MODEL, envelope, record, instances=len(self._routers)).lane
        self._producer.send(
            prompts_topic(MODEL), envelope.id, record.encode(), envelope.headers(), partition=lane
        )  # fmt: skip

    def _text(self, call: Call) -> str:
        """As many tokens as the call has; the one that the model puts before every text is added."""
        parts = [text(n, random.Random(f"{self._salt} {content}")) for content, n in self._specs[call.index].segs]
        return "".join(parts)

    def heard(self, envelope: Envelope, value: bytes | None, now: float) -> None:
        index = (envelope.lin[0].n if envelope.lin and envelope.lin[0] else 0) - self._first_number
        if not 0 <= index < len(self.trace.calls):
            return  # of a run before this one
        call = self.trace.calls[index]
        if envelope.kind is Kind.CHUNK:
            piece = decode_piece(envelope.position, value)
            if not self._tokens[index]:
                self.played.ttft.append(now - self._sent_at[index])
            self._tokens[index] = piece.position + piece.tokens
            self._trigger_up_to(call, self._tokens[index])
        elif envelope.kind is Kind.END:
            if envelope.total != call.out:
                raise RuntimeError(f"a text has {envelope.total} tokens instead of {call.out}")
            self._complete(call, now)
        elif envelope.kind is Kind.ERROR:
            raise RuntimeError(
                f"a prompt of stage {call.stage} failed: {(value or b'').decode(errors='replace')[:300]}"
            )

    def _trigger_up_to(self, call: Call, tokens: int) -> None:
        while self._triggered[call.index] < len(call.at_token):
            at, target = call.at_token[self._triggered[call.index]]
            if at > tokens:
                return
            self._triggered[call.index] += 1
            self._trigger(target)

    def _trigger(self, target: int) -> None:
        self._missing[target] -= 1
        if not self._missing[target]:
            call = self.trace.calls[target]
            asyncio.get_running_loop().call_later(call.delay, self._send, call)

    def _complete(self, call: Call, now: float) -> None:
        self._trigger_up_to(call, call.out)
        for target in call.when_done:
            self._trigger(target)
        self._left[call.root] -= 1
        if self._left[call.root]:
            return
        self.played.requests.append(now - self.began - self.trace.arrivals[call.root])
        for index in self.trace.roots[call.root]:
            member = self.trace.calls[index]
            for router in self._routers:
                router.closed(self._serial(member))
        if len(self.played.requests) == len(self.trace.roots):
            self.done.set()


def _topic(stage: str) -> str:
    return f"{PIPELINE}.{stage}"


def _hits(router: KafkaRouter) -> tuple[float, float]:
    states = router.workers(MODEL)
    return sum(s.prompted for s in states), sum(s.cached for s in states)
