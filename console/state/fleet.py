"""Workers and lanes as `workers.state` tells of them. Pure: the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from streams.errors import RecordError
from workers.routing.blocks import unpack_blocks
from workers.routing.state import WorkerState

SILENT_SECONDS: Final = 2.0
"""A worker speaks at least twice a second; after a second routers give it nothing. Twice that, for the page."""
FORGOTTEN_SECONDS: Final = 60.0


class WorkerRow(BaseModel):
    """One worker, as it last announced itself."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    worker: str
    model: str
    state: Literal["serving", "idle", "leaving", "silent"]
    lanes: tuple[int, ...]
    running: int
    waiting: int
    pending_tokens: float
    """Prompt tokens accepted, not cached and not computed yet."""
    tokens_per_second: float
    """Prompt tokens, of steps that prefill."""
    step_seconds: float
    context_tokens: float
    prefix_blocks: int
    """Blocks of prompts in its prefix cache."""
    prefix_hits: float | None
    """Share of prompt tokens found in the prefix cache since the worker started; None before the first prompt."""
    kv_blocks: int
    """0: the engine does not say."""
    kv_blocks_free: int
    heard_seconds: float
    """Since its last word."""
    history: tuple[int, ...]
    """Running and waiting prompts, by the second, newest last."""


class LaneRow(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
    lane: int
    worker: str | None
    """None: nobody owns it now."""


class ModelRow(BaseModel):
    model_config = ConfigDict(frozen=True)
    model: str
    lanes: tuple[LaneRow, ...]


class FleetView(BaseModel):
    """What `GET /v1/workers` answers."""

    model_config = ConfigDict(frozen=True)
    models: tuple[ModelRow, ...]
    workers: tuple[WorkerRow, ...]


HISTORY: Final = 60


@dataclass(slots=True)
class _Known:
    state: WorkerState
    heard_at: float
    blocks: set[int] = field(default_factory=set)
    history: list[int] = field(default_factory=list)
    second: int = 0


class Fleet:
    def __init__(self) -> None:
        self._workers: Final[dict[str, _Known]] = {}
        self.unreadable = 0

    def on(self, value: bytes, now: float) -> None:
        """The next record of `workers.state`."""
        try:
            state = WorkerState.parse(value)
            known = self._workers.setdefault(state.worker, _Known(state, now))
            before = known.state
            if (state.epoch, state.sequence) < (before.epoch, before.sequence):
                return
            added = unpack_blocks(state.added)
            if state.full or state.epoch > before.epoch:
                known.blocks = set(added)
            else:
                known.blocks.update(added)
                known.blocks.difference_update(unpack_blocks(state.removed))
        except RecordError:
            self.unreadable += 1
            return
        known.state, known.heard_at = state, now
        load = state.running + state.waiting
        if int(now) != known.second:
            known.second = int(now)
            known.history = [*known.history[1 - HISTORY :], load]
        elif known.history:
            known.history[-1] = max(known.history[-1], load)

    def view(self, now: float, lanes: dict[str, int] | None = None) -> FleetView:
        """`lanes`: how many each model has, where that is known; without it, up to the highest that is owned."""
        for name in [n for n, known in self._workers.items() if now - known.heard_at > FORGOTTEN_SECONDS]:
            del self._workers[name]
        rows = sorted((_row(known, now) for known in self._workers.values()), key=lambda r: (r.model, r.worker))
        return FleetView(models=tuple(_lanes(rows, lanes or {})), workers=tuple(rows))


def _row(known: _Known, now: float) -> WorkerRow:
    state, silence = known.state, max(0.0, now - known.heard_at)
    if silence > SILENT_SECONDS and not state.leaving:
        condition: Literal["serving", "idle", "leaving", "silent"] = "silent"
    else:
        condition = "leaving" if state.leaving else "serving" if state.running or state.waiting else "idle"
    return WorkerRow(
        worker=state.worker,
        model=state.model,
        state=condition,
        lanes=tuple(sorted(state.lanes)),
        running=state.running,
        waiting=state.waiting,
        pending_tokens=state.pend,
        tokens_per_second=state.rate,
        step_seconds=state.base,
        context_tokens=state.context,
        prefix_blocks=len(known.blocks),
        prefix_hits=round(state.cached / state.prompted, 3) if state.prompted else None,
        kv_blocks=state.blocks,
        kv_blocks_free=state.free_blocks,
        heard_seconds=round(silence, 2),
        history=tuple(known.history),
    )


def _lanes(rows: list[WorkerRow], counts: dict[str, int]) -> list[ModelRow]:
    found = []
    for model in sorted({row.model for row in rows} | set(counts)):
        owners = {
            lane: row.worker for row in rows if row.model == model and row.state != "silent" for lane in row.lanes
        }
        count = counts.get(model, max(owners, default=-1) + 1)
        lanes = tuple(LaneRow(lane=i, worker=owners.get(i)) for i in range(count))
        found.append(ModelRow(model=model, lanes=lanes))
    return found
