"""Tells in a process's log that a stage failed: which, where in its code, and never on what."""

from __future__ import annotations

import time
from typing import Final

import structlog

from streams.core.effects import Run
from streams.core.failure import Failure
from streams.core.lineage import format_path
from streams.runtime.places import places_of

QUIET_SECONDS: Final = 1.0
"""Of failures alike one line: a stage that fails on every item would fill a disk otherwise."""

KINDS_MAX: Final = 1_000

log = structlog.get_logger(__name__)


class FailureLog:
    """Of one stage. The request is named by its serial (its place on `accepted`): ids are the client's."""

    def __init__(self, pipeline: str, stage: str) -> None:
        self._pipeline: Final = pipeline
        self._stage: Final = stage
        self._told: Final[dict[tuple[str, str], tuple[float, int]]] = {}

    def told(self, run: Run, failure: Failure, error: BaseException) -> None:
        places = places_of(error)
        kind = (failure.code, places[-1] if places else "")
        now = time.monotonic()
        since, more = self._told.get(kind, (0.0, 0))
        if since and now - since < QUIET_SECONDS:
            self._told[kind] = since, more + 1
            return
        if len(self._told) >= KINDS_MAX:
            self._told.clear()
        self._told[kind] = now, 0
        log.error(
            "run failed",
            pipeline=self._pipeline,
            stage=self._stage,
            serial=str(run.node.request.serial),
            path=format_path(run.node.path),
            run=str(run.id),
            code=failure.code,
            error=type(error).__name__,
            where=places,
            **({"alike_since": more} if more else {}),
        )
