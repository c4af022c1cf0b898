"""What `descant top` shows, at one moment; its `--json` is this document."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from console.state.fleet import WorkerRow


class Row(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class StageRow(Row):
    """A consumer group of a pipeline: ingress, a stage, the closer."""

    name: str
    group: str
    members: int
    """Processes that share it; 0: nobody runs it."""
    partitions: int
    unowned: int
    """Partitions that no member has."""
    lag: int
    """Records above the committed offsets. An open request holds back the offsets of every stage that it has
    reached, so that a busy pipeline has some; it grows without end only where a stage cannot keep up."""
    oldest_seconds: float | None
    """Age of the first of those records; None: there is none, or it could not be read."""
    oldest_request: str | None
    """Whose it is."""
    read_per_second: float
    """Records that came on its input topics."""
    written_per_second: float
    """Records that came on its output topic."""


class PipelineRow(Row):
    name: str
    waiting: int
    """Requests that ingress has not admitted yet."""
    open: int
    """Requests that were accepted and have no answer."""
    oldest_seconds: float | None
    oldest_request: str | None
    accepted_per_second: float
    closed_per_second: float
    stages: tuple[StageRow, ...]
    """Ingress first, the closer last."""


class LaneRow(Row):
    lane: int
    worker: str | None
    """None: nobody owns it."""
    lag: int
    """Prompts above the committed offset: waiting, running, or finished above one that is not."""
    last_route: str | None
    """Why the newest prompt went here: the term of the routing policy that decided; `rule` where it has none."""


class ModelRow(Row):
    model: str
    lanes: tuple[LaneRow, ...]


class AssertionRow(Row):
    name: str
    state: str
    """untried, healthy, silent, failing, broken"""
    evaluated: int
    abstained: int
    fired: int
    errors: int
    seconds_p99: float | None
    last_error: str


class Snapshot(Row):
    at: str
    """RFC 3339."""
    bootstrap: str
    pipelines: tuple[PipelineRow, ...]
    models: tuple[ModelRow, ...]
    workers: tuple[WorkerRow, ...]
    assertions: tuple[AssertionRow, ...]

    @property
    def is_empty(self) -> bool:
        """Nothing runs: no pipeline has topics here, and nobody serves a model."""
        return not (self.pipelines or self.models or self.workers)
