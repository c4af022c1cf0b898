"""Tells routers of this worker on the compacted topic `workers.state`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from streams import metrics
from streams.runtime.producer import LoopProducer
from streams.runtime.topics import WORKERS_STATE
from workers.engines.protocol import Engine
from workers.routing import WorkerState
from workers.service.load import Load

LOOK_SECONDS: Final = 0.1
"""Between announcements while something changes. In simulations a state 100 ms old costs a request 1 % at p90."""
SILENCE_SECONDS: Final = 0.4
"""Said at least this often; a second of silence counts as death."""
SNAPSHOT_SECONDS: Final = 5.0
"""Routers that join know the cached blocks after this at the latest."""


class Announcer:
    """Says what changed, at a bounded rate, and that the worker lives."""

    def __init__(
        self, producer: LoopProducer, worker: str, engine: Engine, load: Load, lanes: Callable[[], tuple[int, ...]]
    ) -> None:
        self._producer: Final = producer
        self._worker: Final = worker
        self._engine: Final = engine
        self._counted = 0.0, 0.0
        self._load: Final = load
        self._lanes: Final = lanes
        self._sequence = 0

    async def announce_for_ever(self) -> None:
        """Raises EngineDeadError within LOOK_SECONDS of the engine's death, even when nothing is generated."""
        said: object = None
        said_at = snapshot_at = 0.0
        while True:
            self._load.reported(await self._engine.load())
            now = time.time()
            lanes = self._lanes()
            news = (self._load.version, lanes)
            if news != said or now - said_at >= SILENCE_SECONDS:
                full = now - snapshot_at >= SNAPSHOT_SECONDS
                self._say(now, lanes, full=full)
                self._measure()
                said, said_at, snapshot_at = news, now, now if full else snapshot_at
            await asyncio.sleep(LOOK_SECONDS)

    def _measure(self) -> None:
        model, load, engine = self._engine.model, self._load, self._load.engine
        cached, computed = load.cached, load.prompted - load.cached
        metrics.PROMPT_TOKENS.labels(model, "cached").inc(cached - self._counted[0])
        metrics.PROMPT_TOKENS.labels(model, "computed").inc(max(0.0, computed - self._counted[1]))
        self._counted = cached, max(self._counted[1], computed)
        if engine.kv_blocks_total:
            metrics.KV_BLOCKS.labels(model, "free").set(engine.kv_blocks_free)
            metrics.KV_BLOCKS.labels(model, "used").set(max(0, engine.kv_blocks_total - engine.kv_blocks_free))

    def leave(self) -> None:
        """Nothing more is to be sent here."""
        self._say(time.time(), (), full=False, leaving=True)

    def _say(self, now: float, lanes: tuple[int, ...], *, full: bool, leaving: bool = False) -> None:
        load, pace, engine = self._load, self._load.pace, self._load.engine
        added, removed = (load.all_blocks(), "") if full else load.changes()
        step = pace.step(min(load.running + load.waiting, self._engine.max_parallel))
        state = WorkerState(
            worker=self._worker,
            epoch=1,  # the worker id is new at each start
            sequence=self._sequence,
            model=self._engine.model,
            lanes=lanes,
            ts=now,
            leaving=leaving,
            pend=load.pending,
            crit=load.weight,
            running=load.running,
            waiting=load.waiting,
            context=load.context,
            blocks=engine.kv_blocks_total,
            free_blocks=min(engine.kv_blocks_free, engine.kv_blocks_total),
            further=pace.further,
            places=self._engine.max_parallel,
            share=pace.share(now),
            prompted=load.prompted,
            cached=load.cached,
            tokens_per_byte=load.tokens_per_byte,
            outputs=load.outputs,
            full=full,
            added=added,
            removed=removed,
            **({"rate": pace.rate} if pace.rate else {}),
            **({"base": step} if step else {}),
        )
        self._sequence += 1
        self._producer.send(WORKERS_STATE, self._worker, state.model_dump_json(exclude_defaults=True).encode(), [])
