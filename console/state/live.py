"""The requests of one pipeline as its topics show them: records in, events out. Pure: the time is passed in.

What streams is speculative. Each node remembers the runs that its lineage names; when a record names a higher run
of any of them, the node and all that was made from the lower run are void. What is kept is bounded by the number
of requests and of nodes in each.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from console.state.events import (
    AnswerEvent,
    DroppedEvent,
    ErrorBody,
    FailedEvent,
    GoneEvent,
    ItemEvent,
    NodeEvent,
    Opened,
    RequestEvent,
    Summary,
    TextEndEvent,
    TextEvent,
)
from streams.core.failure import decode_failure
from streams.core.lineage import Layout, NodeKey, Path, RunId
from streams.core.plan import REQUEST, Plan
from streams.core.record import Envelope, Kind
from streams.core.text import Change, Text, decode_piece
from streams.errors import RecordError

NODES_MAX: Final = 4_000
"""Of one request. A flow that forks wider is cut off on the page; the pipeline itself is not."""

LOST_SECONDS: Final = 15.0
"""After its deadline a request gets a typed error at once; without one after this long, nobody closes it."""

TITLE_CHARS: Final = 120


@dataclass(slots=True)
class Node:
    stage: str
    path: Path
    runs: dict[NodeKey, RunId]
    text: Text | None = None
    event: NodeEvent | None = None
    """What replays it; of a text, only its end."""


@dataclass(slots=True)
class Live:
    """One request."""

    id: str
    opened_at: float
    deadline: float = 0.0
    """Seconds since 1970; 0: not known."""
    input: Any = None
    nodes: dict[tuple[str, Path], Node] = field(default_factory=dict)
    current: dict[NodeKey, RunId] = field(default_factory=dict)
    answer: AnswerEvent | None = None

    def replay(self) -> Iterator[RequestEvent]:
        """Everything as it stands, as events: for one who comes late, or comes again."""
        yield self.opened()
        for node in self.nodes.values():
            if node.text is not None and node.text.pieces and node.text.cur is not None:
                whole = "".join(piece.text for piece in node.text.pieces)
                yield TextEvent(
                    stage=node.stage, path=node.path, position=0, text=whole, run=str(node.text.cur), at=0.0
                )
            if node.event is not None:
                yield node.event
        if self.answer is not None:
            yield self.answer

    def opened(self) -> Opened:
        return Opened(id=self.id, input=self.input, opened_at=self.opened_at)

    def summary(self, now: float) -> Summary:
        texts = sum(node.text is not None for node in self.nodes.values())
        if self.answer is not None:
            state = "failed" if self.answer.error else "answered"
        else:
            state = "lost" if self.deadline and now > self.deadline + LOST_SECONDS else "running"
        return Summary(
            id=self.id,
            state=state,
            title=title_of(self.input),
            opened_at=self.opened_at,
            seconds=self.answer.at if self.answer else None,
            items=len(self.nodes) - texts,
            texts=texts,
        )


class LiveRequests:
    """The newest `keep` requests."""

    def __init__(self, plan: Plan, keep: int) -> None:
        self._layout: Final = Layout(plan)
        self._names: Final = {index: name for name, index in self._layout.index.items()}
        self._keep: Final = keep
        self._requests: Final[OrderedDict[str, Live]] = OrderedDict()

    def __getitem__(self, request_id: str) -> Live:
        return self._requests[request_id]

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._requests

    def newest_first(self) -> list[Live]:
        return list(reversed(self._requests.values()))

    def open(self, request_id: str, value: Any, now: float) -> Live:
        """A request that was submitted here, before any record of it can come."""
        live = self._open(request_id, now)
        live.input = value
        return live

    def on(self, source: str, envelope: Envelope, value: bytes | None, now: float) -> list[RequestEvent]:
        """The next record; `source` is a stage, REQUEST, or empty for the answers. A record that cannot be read, or
        that is void already, gives no event."""
        if envelope.id not in self._requests and (source == "" or 0 < envelope.deadline < now * 1000):
            return []  # the end of one that was never shown, or of one that was forgotten
        is_new = envelope.id not in self._requests
        live = self._open(envelope.id, now)
        live.deadline = live.deadline or envelope.deadline / 1000
        at = max(0.0, now - live.opened_at)
        events: list[RequestEvent] = [live.opened()] if is_new else []
        try:
            if source == REQUEST:
                events += self._on_request(live, value)
            elif source == "":
                events.append(_answered(live, envelope, value, at))
            elif envelope.stage == source and envelope.lin and envelope.lin[-1] is not None:
                events += self._on_stage(live, envelope, value, at)
        except (RecordError, ValueError):
            pass  # of another version of the flow, or not ours: the pipeline itself tells of it
        return events

    def _open(self, request_id: str, now: float) -> Live:
        live = self._requests.get(request_id)
        if live is None:
            live = self._requests[request_id] = Live(request_id, now)
            if len(self._requests) > self._keep:
                self._requests.popitem(last=False)
        return live

    def _on_request(self, live: Live, value: bytes | None) -> Iterator[RequestEvent]:
        if live.input is None:
            live.input = json.loads(value or b"null")
            yield live.opened()

    def _on_stage(self, live: Live, envelope: Envelope, value: bytes | None, at: float) -> Iterator[RequestEvent]:
        runs = dict(self._layout.entries(envelope.stage, envelope.path, envelope.lin))
        if any(run < live.current.get(key, run) for key, run in runs.items()):
            return
        raised = {key: run for key, run in runs.items() if run > live.current.get(key, run)}
        live.current.update(runs)
        place = (envelope.stage, envelope.path)
        for other in [n for n in live.nodes.values() if _is_void(n, raised)] if raised else ():
            del live.nodes[other.stage, other.path]
            yield GoneEvent(stage=other.stage, path=other.path)
        if place not in live.nodes and len(live.nodes) >= NODES_MAX:
            return
        yield from self._write(live, place, runs, envelope, value, at)

    def _write(
        self,
        live: Live,
        place: tuple[str, Path],
        runs: dict[NodeKey, RunId],
        envelope: Envelope,
        value: bytes | None,
        at: float,
    ) -> Iterator[RequestEvent]:
        stage, path = place
        run = str(envelope.lin[-1])
        event: NodeEvent
        match envelope.kind:
            case Kind.CHUNK | Kind.FENCE:
                node = live.nodes.setdefault(place, Node(stage, path, runs))
                node.runs, node.text = runs, node.text or Text()
                piece = decode_piece(envelope.position, value) if envelope.kind is Kind.CHUNK else None
                change = node.text.on(envelope, piece)
                if change is Change.RESTARTED:
                    node.event = None
                if piece is not None and change in (Change.GREW, Change.RESTARTED):
                    yield TextEvent(stage=stage, path=path, position=piece.position, text=piece.text, run=run, at=at)
                return
            case Kind.END if envelope.w is not None:
                text_node = live.nodes.get(place)
                if text_node is None or text_node.text is None or text_node.text.on(envelope, None) is not Change.GREW:
                    return
                text_node.event = event = TextEndEvent(stage=stage, path=path, tokens=envelope.total, run=run, at=at)
                yield event
                return
            case Kind.ITEM:
                event = ItemEvent(stage=stage, path=path, value=json.loads(value or b"null"), run=run, at=at)
            case Kind.TOMBSTONE:
                event = DroppedEvent(stage=stage, path=path, run=run, at=at)
            case Kind.ERROR:
                failure = decode_failure(value)
                event = FailedEvent(stage=stage, path=path, code=failure.code, message=failure.message, run=run, at=at)
            case _:
                return
        live.nodes[place] = Node(stage, path, runs, event=event)
        yield event


def _is_void(node: Node, raised: dict[NodeKey, RunId]) -> bool:
    return any(node.runs.get(key, run) < run for key, run in raised.items())


def _answered(live: Live, envelope: Envelope, value: bytes | None, at: float) -> AnswerEvent:
    if envelope.kind is Kind.ERROR:
        failure = decode_failure(value)
        error = ErrorBody(code=failure.code, message=failure.message, stage=failure.stage)
        live.answer = AnswerEvent(error=error, at=at)
    else:
        live.answer = AnswerEvent(value=json.loads(value or b"null"), at=at)
    return live.answer


def title_of(value: Any) -> str:
    """The first words of a request: its text where it has one, else its JSON."""
    if isinstance(value, dict):
        texts = [v for v in value.values() if isinstance(v, str) and v.strip()]
        text = texts[0] if texts else json.dumps(value, ensure_ascii=False)
    else:
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= TITLE_CHARS else text[: TITLE_CHARS - 1] + "…"
