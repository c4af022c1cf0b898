"""From records of a pipeline's topics to observations: joins, texts as they grow, runs that are superseded.

What streams is speculative (PROTOCOL §3): a stage that crashed runs again and its records outrank the older ones. A
request's records are compared by the same rule as everywhere, `streams.core.view`; an observation that rests on an
outranked record is superseded, and what agrees with the answer's lineage stands when the request is answered.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from assertions.core.observation import Closed, Event, Observation, Seen, Superseded, parse_value
from streams.core.lineage import Entry, Layout, NodeKey, RunId, Serial, format_lineage, format_path
from streams.core.plan import REQUEST, Plan
from streams.core.record import Envelope, Kind
from streams.core.text import Change, Text, decode_piece
from streams.core.view import Held, Verdict, View
from streams.errors import RecordError

# A request whose answer never came (its records were read again after it had closed) is forgotten this long after its
# deadline: longer than any transaction of a closer, so that no answer on its way is missed.
GRACE_SECONDS: Final = 60.0
# Closed serials that are remembered to ignore what zombies still write about them.
CLOSED_MAX: Final = 100_000
# Outranked values of one request that are kept until its answer says which of them it rests on.
OLDER_MAX: Final = 1_000


class Incoming(NamedTuple):
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    time: float
    """Its timestamp, seconds."""
    envelope: Envelope
    value: bytes | None


@dataclass(slots=True, eq=False)
class _Part:
    """A current value that observations can be made of."""

    held: Held
    value: Any
    time: float
    source: str
    is_complete: bool = True


@dataclass(slots=True, eq=False)
class _Request:
    id: str
    deadline: float
    view: View = field(default_factory=View)
    held: list[Held] = field(default_factory=list)
    parts: dict[tuple[str, tuple[int, ...]], _Part] = field(default_factory=dict)
    """(stage, path) → the current value there."""
    all_parts: dict[int, tuple[str, _Part]] = field(default_factory=dict)
    """id(held) → its stage and value, current or not."""
    texts: dict[tuple[str, tuple[int, ...], str], Text] = field(default_factory=dict)
    older: dict[tuple[str, tuple[int, ...], str], _Part] = field(default_factory=dict)
    """(stage, path, lineage) → what was outranked: an answer may rest on an older attempt that was complete."""
    emitted: dict[str, Observation] = field(default_factory=dict)
    first: dict[tuple[str, int], int] = field(default_factory=dict)
    """(topic, partition) → the lowest offset of its records there."""

    def outrank(self, stage: str, part: _Part) -> None:
        envelope = part.held.envelope
        self.older[stage, envelope.path, format_lineage(envelope.lin)] = part
        if len(self.older) > OLDER_MAX:
            del self.older[next(iter(self.older))]


class Assembler:
    """Open requests of one pipeline. Bounded by what the pipeline admits."""

    def __init__(self, pipeline: str, wanted: Iterable[tuple[str, ...]], plan: Plan | None = None) -> None:
        """wanted: the stages of each assertion's `on`. Without a plan, lineages are compared within a stage only."""
        self.pipeline: Final = pipeline
        self._wanted: Final = sorted(set(wanted))
        self._by_stage: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for stages in self._wanted:
            for stage in stages:
                self._by_stage[stage].append(stages)
        self._layout = Layout(plan) if plan is not None else None
        self._numbers: dict[str, int] = {}
        self._requests: dict[Serial, _Request] = {}
        self._closed: OrderedDict[Serial, dict[NodeKey, RunId] | None] = OrderedDict()
        """What the answer rests on; None where there was none."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages to read, `accepted` among them when an assertion looks at requests."""
        return tuple(sorted(self._by_stage))

    def record(self, incoming: Incoming) -> list[Event]:
        """Take a record of a stage's topic, or of `accepted`. Raises RecordError if it cannot be understood."""
        envelope = incoming.envelope
        stage = incoming.topic.removeprefix(f"{self.pipeline}.")
        serial = Serial(incoming.partition, incoming.offset) if stage == REQUEST else envelope.serial
        if serial is None or stage not in self._by_stage:
            return []
        if envelope.kind not in (Kind.ITEM, Kind.CHUNK, Kind.FENCE, Kind.END):
            return []
        if serial in self._closed:
            return self._straggler(serial, stage, incoming)
        request = self._requests.get(serial)
        if request is None:
            request = self._requests[serial] = _Request(envelope.id, envelope.deadline / 1000)
        request.first.setdefault((incoming.topic, incoming.partition), incoming.offset)
        held = Held(envelope, None, 0, incoming.offset, self._entries(envelope, stage))
        part = self._part(request, stage, held, incoming)
        if part is None:
            return []
        request.held.append(part.held)
        request.all_parts[id(part.held)] = (stage, part)
        match request.view.admit(part.held):
            case Verdict.OUTRANKED:
                request.outrank(stage, part)
                return []
            case Verdict.OUTRANKS:
                return self._select(serial, request)
            case Verdict.CURRENT:
                request.parts[stage, envelope.path] = part
                return list(self._emit(request, self._observations(serial, request, stage, part)))

    def answered(self, serial: Serial, envelope: Envelope) -> list[Event]:
        """The request's answer. What disagrees with its lineage never stood."""
        decided = dict(self._entries(envelope, envelope.stage)) if envelope.lin else {}
        request = self._forget(serial, decided)
        if request is None:
            return []
        events: list[Event] = []
        wrong = {
            key
            for key, part in request.parts.items()
            if any(decided.get(n, run) != run for n, run in part.held.entries)
        }
        for observation in request.emitted.values():
            fits = observation.is_complete and not (wrong and wrong.intersection(self._keys(observation)))
            events.append(Closed(observation.id) if fits else Superseded(observation.id))
        return events + self._standing_again(serial, request, decided, wrong)

    def dropped(self, serial: Serial) -> list[Event]:
        """The request was closed without an answer, as the repetition of another one."""
        request = self._forget(serial, None)
        return [Superseded(observation_id) for observation_id in request.emitted] if request else []

    def expire(self, now: float) -> list[Event]:
        """Forget requests long past their deadline; now: event time, seconds."""
        over = [s for s, r in self._requests.items() if r.deadline and now > r.deadline + GRACE_SECONDS]
        return [event for serial in over for event in self.dropped(serial)]

    def low_offsets(self) -> dict[tuple[str, int], int]:
        """(topic, partition) → the lowest offset that an open request still needs; absent where none does."""
        low: dict[tuple[str, int], int] = {}
        for request in self._requests.values():
            for place, offset in request.first.items():
                low[place] = min(offset, low.get(place, offset))
        return low

    @property
    def open_count(self) -> int:
        return len(self._requests)

    # ---- inside

    def _standing_again(
        self,
        serial: Serial,
        request: _Request,
        decided: dict[NodeKey, RunId],
        wrong: set[tuple[str, tuple[int, ...]]],
    ) -> list[Event]:
        """What was outranked and is what the answer rests on all the same."""
        if not request.older:
            return []
        back: dict[tuple[str, tuple[int, ...]], _Part] = {}
        for (stage, path, _), part in request.older.items():
            key, entries = (stage, path), part.held.entries
            if not part.is_complete or (key in request.parts and key not in wrong):
                continue
            if any(decided.get(node, run) != run for node, run in entries):
                continue
            if key not in back or entries > back[key].held.entries:
                back[key] = part
        if not back:
            return []
        request.parts = {key: part for key, part in request.parts.items() if key not in wrong} | back
        found = {
            observation.id: observation
            for (stage, _), part in back.items()
            for observation in self._observations(serial, request, stage, part)
            if observation.is_complete
        }
        return [event for each in found.values() for event in (Seen(each), Closed(each.id))]

    def _straggler(self, serial: Serial, stage: str, incoming: Incoming) -> list[Event]:
        """An item that was read after its request's answer. It stands if it agrees with the answer."""
        decided = self._closed[serial]
        envelope = incoming.envelope
        if decided is None or envelope.kind is not Kind.ITEM or (stage,) not in self._by_stage[stage]:
            return []
        held = Held(envelope, None, 0, incoming.offset, self._entries(envelope, stage))
        request = _Request(envelope.id, 0.0)
        part = self._part(request, stage, held, incoming)
        if part is None or any(decided.get(node, run) != run for node, run in held.entries):
            return []
        observation = self._observation(serial, request, (stage,), [part], envelope.path)
        return [Seen(observation), Closed(observation.id)]

    def _forget(self, serial: Serial, decided: dict[NodeKey, RunId] | None) -> _Request | None:
        self._closed[serial] = decided
        if len(self._closed) > CLOSED_MAX:
            self._closed.popitem(last=False)
        return self._requests.pop(serial, None)

    def _entries(self, envelope: Envelope, stage: str) -> list[Entry]:
        if self._layout is not None:
            return self._layout.entries(envelope.stage, envelope.path, envelope.lin)
        number = self._numbers.setdefault(envelope.stage or stage, 1_000 * (len(self._numbers) + 1))
        return [((number + i, envelope.path), run) for i, run in enumerate(envelope.lin) if run is not None]

    def _part(self, request: _Request, stage: str, held: Held, incoming: Incoming) -> _Part | None:
        envelope = incoming.envelope
        source = f"{incoming.topic}:{incoming.partition}:{incoming.offset}"
        if envelope.base is None:
            if envelope.kind is not Kind.ITEM:
                return None
            try:
                value = parse_value(incoming.value or b"null")
            except ValueError:
                raise RecordError(
                    "the value of an item is no JSON, or nested too deeply to judge", code="record.value"
                ) from None
            return _Part(held, value, incoming.time, source)
        key = (stage, envelope.path, format_lineage(envelope.lin))
        text = request.texts.setdefault(key, Text())
        piece = decode_piece(envelope.position, incoming.value) if envelope.kind is Kind.CHUNK else None
        if text.on(envelope, piece) is Change.NONE and not text.is_over:
            return None
        written = "".join(p.text for p in text.pieces)
        if not written.isascii():  # half of a character that JSON escaped could not be written again
            written = written.encode("utf-8", "replace").decode()
        return _Part(held, written, incoming.time, source, text.end is not None)

    def _select(self, serial: Serial, request: _Request) -> list[Event]:
        """A run outranks what was known: what is current now, and what no longer is."""
        current = request.view.select(request.held)
        request.held = current
        request.parts = {}
        for held in current:
            stage, part = request.all_parts[id(held)]
            request.parts[stage, held.envelope.path] = part
        kept = {id(held) for held in current}
        for key, (stage, part) in request.all_parts.items():
            if key not in kept:
                request.outrank(stage, part)
        request.all_parts = {key: value for key, value in request.all_parts.items() if key in kept}
        now: dict[str, Observation] = {}
        for (stage, _), part in request.parts.items():
            now.update((o.id, o) for o in self._observations(serial, request, stage, part))
        gone = [observation_id for observation_id in request.emitted if observation_id not in now]
        for observation_id in gone:
            del request.emitted[observation_id]
        return [*(Superseded(each) for each in gone), *self._emit(request, now.values())]

    def _emit(self, request: _Request, observations: Iterable[Observation]) -> Iterator[Event]:
        for observation in observations:
            if request.emitted.get(observation.id) != observation:
                request.emitted[observation.id] = observation
                yield Seen(observation)

    def _observations(self, serial: Serial, request: _Request, stage: str, part: _Part) -> Iterator[Observation]:
        path = part.held.envelope.path
        for stages in self._by_stage[stage]:
            if len(stages) == 1:
                yield self._observation(serial, request, stages, [part], path)
                continue
            deeper = {p for s, p in request.parts if s in stages and len(p) >= len(path) and p[: len(path)] == path}
            for deepest in sorted(deeper, key=lambda p: (-len(p), p)):
                joined = [self._at(request, each, deepest) for each in stages]
                whole = [each for each in joined if each is not None]
                if len(whole) == len(stages) and max(len(p.held.envelope.path) for p in whole) == len(deepest):
                    yield self._observation(serial, request, stages, whole, deepest)

    def _at(self, request: _Request, stage: str, path: tuple[int, ...]) -> _Part | None:
        for length in range(len(path), -1, -1):
            if (found := request.parts.get((stage, path[:length]))) is not None:
                return found
        return None

    def _observation(
        self,
        serial: Serial,
        request: _Request,
        stages: tuple[str, ...],
        parts: Sequence[_Part],
        path: tuple[int, ...],
    ) -> Observation:
        last = parts[0] if len(parts) == 1 else max(parts, key=lambda part: (part.time, part.source))
        envelope = last.held.envelope
        runs = [format_lineage(part.held.envelope.lin) for part in parts]
        return Observation(
            pipeline=self.pipeline,
            stages=stages,
            values=tuple([part.value for part in parts]),
            serial=str(serial),
            path=format_path(path),
            time=last.time,
            request=request.id,
            run="+".join(runs) if any(runs) else "",
            is_complete=all(part.is_complete for part in parts),
            plan=envelope.plan or None,
            trace=envelope.traceparent or None,
            source=last.source,
            revisions=parts[-1].held.envelope.revisions,
        )

    def _keys(self, observation: Observation) -> Iterator[tuple[str, tuple[int, ...]]]:
        path = tuple(map(int, observation.path.split("."))) if observation.path else ()
        for stage in observation.stages:
            for length in range(len(path) + 1):
                yield stage, path[:length]
