"""The spans of texts: from the moment that a worker takes a prompt up until its text has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streams.core.lane import Writing
from streams.core.lineage import format_path
from streams.core.record import Envelope
from streams.tracing import Tracing, traceparent_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class TextSpans:
    """Of one lane. The names `gen_ai.*` are OpenTelemetry's for generative models."""

    def __init__(self, tracing: Tracing, model: str) -> None:
        self._tracing: Final = tracing
        self._model: Final = model
        self._open: Final[dict[Writing, tuple[Span, str]]] = {}

    def start(self, writing: Writing, lane: int) -> None:
        envelope = writing.prompt.envelope
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "text_completion",
            "gen_ai.request.model": self._model,
            "descant.lane": lane,
            "descant.stage": envelope.stage,
            "descant.request": envelope.id,
            "descant.path": format_path(envelope.path),
            "descant.run": str(writing.w),
            "descant.resumed_tokens": len(writing.resume),
        }
        span = self._tracing.below(envelope.traceparent, f"models.{self._model}", attributes)
        if span is not None:
            self._open[writing] = span, traceparent_of(span)

    def first_token(self, writing: Writing, cached_tokens: int | None) -> None:
        found = self._open.get(writing)
        if found is not None:
            found[0].add_event("first token", {} if cached_tokens is None else {"cached_tokens": cached_tokens})

    def marked(self, writing: Writing, envelope: Envelope) -> Envelope:
        """The envelope as part of this text: what is made of it is below the text in the trace."""
        found = self._open.get(writing)
        return envelope if found is None else envelope._replace(traceparent=found[1])

    def end(self, writing: Writing) -> None:
        found = self._open.pop(writing, None)
        if found is not None:
            span, _ = found
            span.set_attribute("gen_ai.usage.output_tokens", writing.length)
            span.set_attribute("descant.outcome", "done" if writing.is_ended else "stopped")
            span.end()
