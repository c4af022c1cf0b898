"""Gathers what `descant top` shows: brokers, pipelines, workers, assertions."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final, Self

from assertions.history import STALE_SECONDS
from assertions.processor.topics import HEALTH
from console.state.fleet import Fleet
from console.state.tail import Tail
from console.top.cluster import Cluster, Seen
from console.top.pipeline import PipelineWatch
from console.top.rows import (
    NO_GROUP,
    Probes,
    behind,
    in_flow_order,
    lane_rows,
    models_in,
    pipelines_in,
    places_of,
    stage_row,
)
from console.top.snapshot import AssertionRow, ModelRow, PipelineRow, Snapshot
from streams.errors import ConfigError
from streams.runtime.offsets import OffsetLookup
from streams.runtime.topics import WORKERS_STATE, group_of, prompts_topic, requests_topic
from streams.settings import KafkaSettings
from workers.access import workers_group

STATES_READ: Final = 500
"""Newest records of `workers.state` that are read at the start: a snapshot of each of a few dozen workers."""

HEALTH_READ: Final = 2_000

READY_SECONDS: Final = 5.0
"""Longest wait of the first snapshot for what is open; what is not known by then comes with the next."""


class Watch:
    """`async with Watch(kafka) as watch: snapshot = await watch.look()`. It joins no group and commits nothing."""

    def __init__(self, kafka: KafkaSettings, pipeline: str | None = None) -> None:
        """`pipeline`: only this one."""
        self._kafka: Final = kafka
        self._only: Final = pipeline
        self._cluster: Final = Cluster(kafka)
        self._lookup: Final = OffsetLookup(kafka)
        self._fleet: Final = Fleet()
        self._health: Final[dict[str, dict[str, Any]]] = {}
        self._pipelines: Final[dict[str, PipelineWatch]] = {}
        self._answered: Final[dict[str, tuple[float, int]]] = {}
        self._before: Seen | None = None
        self._failure: BaseException | None = None
        self._stack: Final = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for tail in (
            Tail(self._kafka, [WORKERS_STATE], self._on_workers, since="beginning", last=STATES_READ),
            Tail(self._kafka, [HEALTH], self._on_health, since="beginning", last=HEALTH_READ),
        ):
            tail.start()
            self._stack.push_async_callback(tail.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._lookup.close()
        await asyncio.gather(*(watch.close() for watch in self._pipelines.values()))
        await self._stack.aclose()
        await asyncio.to_thread(self._cluster.close)

    async def look(self) -> Snapshot:
        """What is so now; rates are since the look before. Raises BrokerError when no broker answers,
        ConfigError when the one pipeline is not there."""
        topics = await asyncio.to_thread(self._cluster.topics)
        if self._failure is not None:
            raise self._failure
        pipelines = pipelines_in(topics)
        if self._only is not None:
            if self._only not in pipelines:
                known = ", ".join(sorted(pipelines)) or "none"
                raise ConfigError(
                    f"no pipeline {self._only!r} has its topics at {self._kafka.bootstrap}; known: {known}.",
                    code="top.pipeline",
                )
            pipelines = {self._only: pipelines[self._only]}
        await self._follow(pipelines, topics)
        models = models_in(topics)
        wanted = [t for t in topics if t.rpartition(".")[0] in pipelines or t in map(prompts_topic, models)]
        groups = [group_of(p, role) for p, stages in pipelines.items() for role in ("ingress", *stages, "closer")]
        groups += map(workers_group, models)
        seen = await asyncio.to_thread(self._cluster.look, topics, wanted, groups)
        probes = await asyncio.to_thread(self._cluster.probe, _to_probe(seen, groups, models))
        snapshot = self._snapshot(seen, pipelines, models, probes)
        self._before = seen
        return snapshot

    async def _follow(self, pipelines: dict[str, tuple[str, ...]], topics: dict[str, int]) -> None:
        new = [name for name in pipelines if name not in self._pipelines]
        for name in new:
            watch = PipelineWatch(name, topics[f"{name}.accepted"], self._kafka, self._lookup, self._fatal)
            self._pipelines[name] = watch
            watch.start()
        if new:
            ready = asyncio.gather(*(self._pipelines[name].ready.wait() for name in new))
            await asyncio.wait([ready], timeout=READY_SECONDS)
            ready.cancel()
            await asyncio.gather(ready, return_exceptions=True)

    def _fatal(self, error: BaseException) -> None:
        self._failure = self._failure or error

    def _snapshot(
        self, seen: Seen, pipelines: dict[str, tuple[str, ...]], models: tuple[str, ...], probes: Probes
    ) -> Snapshot:
        now = time.time()
        view = self._fleet.view(now, {model: seen.topics[prompts_topic(model)] for model in models})
        owners = {m.model: {lane.lane: lane.worker for lane in m.lanes if lane.worker} for m in view.models}
        return Snapshot(
            at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            bootstrap=self._kafka.bootstrap,
            pipelines=tuple(self._pipeline(name, stages, seen, probes, now) for name, stages in pipelines.items()),
            models=tuple(
                ModelRow(model=model, lanes=lane_rows(model, owners.get(model, {}), seen, probes)) for model in models
            ),
            workers=view.workers,
            assertions=tuple(_assertion(state) for _, state in sorted(self._health.items()) if _is_fresh(state, now)),
        )

    def _pipeline(self, name: str, stages: tuple[str, ...], seen: Seen, probes: Probes, now: float) -> PipelineRow:
        requests = self._pipelines[name].requests
        requests.sweep()
        oldest = requests.oldest
        ordered = in_flow_order(name, stages, seen.groups)
        outputs = {"ingress": f"{name}.accepted", "closer": f"{name}.answers"}
        inputs = {"ingress": [requests_topic(name)], "closer": [f"{name}.accepted"]}
        rows = tuple(
            stage_row(
                role,
                group_of(name, role),
                inputs.get(role, ()),
                outputs.get(role, f"{name}.{role}"),
                seen,
                self._before,
                probes,
                now,
            )
            for role in ("ingress", *ordered, "closer")
        )
        since, answered = self._answered.get(name, (seen.at, requests.answered))
        self._answered[name] = (seen.at, requests.answered)
        passed = seen.at - since
        return PipelineRow(
            name=name,
            waiting=rows[0].lag,
            open=len(requests),
            oldest_seconds=None if oldest is None else round(max(0.0, now - oldest.since), 1),
            oldest_request=None if oldest is None else oldest.id,
            accepted_per_second=rows[0].written_per_second,
            closed_per_second=round((requests.answered - answered) / passed, 1) if passed > 0 else 0.0,
            stages=rows,
        )

    def _on_workers(self, records: list[tuple[str, bytes]]) -> None:
        now = time.time()
        for _, value in records:
            self._fleet.on(value, now)

    def _on_health(self, records: list[tuple[str, bytes]]) -> None:
        for _, value in records:
            try:
                state = json.loads(value)
            except ValueError:
                continue  # only processors write here
            if isinstance(state, dict) and "assertion" in state:
                self._health[str(state["assertion"])] = state


def _to_probe(seen: Seen, groups: list[str], models: tuple[str, ...]) -> list[tuple[str, int, int]]:
    found = []
    for name in groups:
        group = seen.groups.get(name, NO_GROUP)
        if not name.startswith("models."):
            found += behind(group, places_of(group, (), seen), seen.ends)
    for model in models:
        topic = prompts_topic(model)
        ends = ((lane, seen.ends.get((topic, lane), 0)) for lane in range(seen.topics.get(topic, 0)))
        found += [(topic, lane, end - 1) for lane, end in ends if end > 0]
    return found


def _is_fresh(state: dict[str, Any], now: float) -> bool:
    return now - float(state.get("time", 0)) <= STALE_SECONDS


def _assertion(state: dict[str, Any]) -> AssertionRow:
    return AssertionRow(
        name=state["assertion"],
        state=str(state.get("state", "")),
        evaluated=int(state.get("evaluated", 0)),
        abstained=int(state.get("abstained", 0)),
        fired=int(state.get("fired", 0)),
        errors=sum(state.get("errors", {}).values()),
        seconds_p99=state.get("seconds_p99"),
        last_error=str(state.get("last_error", "")),
    )
