"""The spans of a stage's runs: from the start of a run until what it gave is emitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streams.core.effects import Failed, Result, Run
from streams.core.lineage import format_path
from streams.core.plan import InputMode
from streams.core.record import Envelope
from streams.tracing import Tracing, traceparent_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class RunSpans:
    """Of one slot. What a run emits carries its span, so that what is made of it is below it in the trace."""

    def __init__(self, tracing: Tracing, pipeline: str) -> None:
        self._tracing: Final = tracing
        self._pipeline: Final = pipeline
        self._open: Final[dict[Run, tuple[Span, str]]] = {}

    def start(self, run: Run) -> None:
        request, stage = run.node.request, run.node.group.shape.stage
        attributes = {
            "descant.pipeline": self._pipeline,
            "descant.stage": stage.name,
            "descant.request": request.id,
            "descant.path": format_path(run.node.path),
            "descant.run": str(run.id),
        }
        span = self._tracing.below(_parent(run), f"{self._pipeline}.{stage.name}", attributes)
        if span is not None:
            self._open[run] = span, traceparent_of(span)

    def marked(self, run: Run | None, envelope: Envelope) -> Envelope:
        """The envelope as this run's output."""
        found = None if run is None else self._open.get(run)
        return envelope if found is None else envelope._replace(traceparent=found[1])

    def end(self, run: Run, result: Result | None) -> None:
        """`result` None: it was stopped."""
        found = self._open.pop(run, None)
        if found is None:
            return
        span, _ = found
        span.set_attribute("descant.outcome", "stopped" if result is None else type(result).__name__.lower())
        if isinstance(result, Failed):
            from opentelemetry.trace import StatusCode  # noqa: PLC0415 — it is imported already where a span is open

            span.set_status(StatusCode.ERROR, result.failure.code)
        span.end()

    def close(self) -> None:
        for run in list(self._open):
            self.end(run, None)


def _parent(run: Run) -> str:
    """The item that this run is of: its deepest plain input; of a join without one, its request."""
    group = run.node.group
    deepest: Envelope | None = None
    for k, plan in enumerate(group.shape.stage.inputs):
        if plan.mode is InputMode.ITEM:
            envelope = group.plain(k).envelope
            if deepest is None or len(envelope.path) > len(deepest.path):
                deepest = envelope
    return run.node.request.traceparent if deepest is None else deepest.traceparent
