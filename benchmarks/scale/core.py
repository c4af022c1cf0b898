"""The pure core by itself: records as they stand on a topic go in, nothing is sent; CPU time of this thread."""

from __future__ import annotations

import gc
import itertools
import random
import statistics
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from benchmarks.scale.flows import joined, watched
from streams.core.effects import Effect, Run, Start, Value
from streams.core.group import Shape
from streams.core.lineage import Layout, RunId, Serial
from streams.core.offsets import SlotMetadata
from streams.core.plan import Plan
from streams.core.record import Envelope, Headers, Kind, parse_envelope
from streams.core.slot import Slot
from streams.core.text import Piece, encode_piece

TOKENS_OF_TEXT: Final = 64
DEADLINE: Final = 1_800_000_000_000
WRITER: Final = RunId(1, 1)


class Record(NamedTuple):
    serial: Serial
    headers: list[tuple[str, bytes | None]]
    value: bytes | None


def slot_of(plan: Plan, stage: str) -> Slot:
    slot = Slot(
        Shape(plan, plan[stage], Layout(plan)),
        0,
        metadata=SlotMetadata(1),
        positions=dict.fromkeys(range(len(plan[stage].sources)), 0),
        next_n=itertools.count(1).__next__,
        is_closed=lambda _: False,
    )
    slot.caught_up()
    return slot


class Texts:
    """`in_flight` texts that grow by a token at a time, in random order; where one ends, another begins."""

    def __init__(self, in_flight: int) -> None:
        self.plan: Final = watched("scale").plan
        self.slot: Final = slot_of(self.plan, "watch")
        self._rng: Final = random.Random(in_flight)
        self._serials: Final = itertools.count()
        self._offsets: Final = itertools.count()
        # Not all at their beginning, or all would end together.
        self._open: Final = [(self._serial(), 0) for _ in range(in_flight)]
        self._stagger: Final = [self._rng.randrange(TOKENS_OF_TEXT) for _ in range(in_flight)]
        for k, tokens in enumerate(self._stagger):
            self.take(list(self._text(k, 0, 1)))
            if tokens > 1:
                self.take(list(self._text(k, 1, tokens)))
            self._open[k] = (self._open[k][0], max(1, tokens))

    def _serial(self) -> Serial:
        return Serial(0, next(self._serials))

    def _record(self, serial: Serial, kind: Kind, number: int, value: bytes | None) -> Record:
        envelope = Envelope(
            id=f"request-{serial.offset}",
            kind=kind,
            serial=serial,
            plan=self.plan.digest,
            stage="write",
            lin=(RunId(1, serial.offset + 1),),
            deadline=DEADLINE,
            position=number if kind is Kind.CHUNK else 0,
            total=number if kind is Kind.END else 0,
            base=WRITER,
            w=WRITER,
        )
        return Record(serial, as_read(envelope.headers()), value)

    def _text(self, k: int, start: int, end: int) -> Iterator[Record]:
        serial, _ = self._open[k]
        for position in range(start, end):
            piece = Piece(position, " word", (1000 + position,), 1)
            yield self._record(serial, Kind.CHUNK, position, encode_piece(piece))

    def next_records(self, count: int) -> list[Record]:
        found: list[Record] = []
        while len(found) < count:
            k = self._rng.randrange(len(self._open))
            serial, position = self._open[k]
            found.extend(self._text(k, position, position + 1))
            self._open[k] = (serial, position + 1)
            if position + 1 == TOKENS_OF_TEXT:
                found.append(self._record(serial, Kind.END, TOKENS_OF_TEXT, None))
                self._open[k] = (self._serial(), 0)
        return found

    def take(self, records: Sequence[Record]) -> None:
        slot, offsets = self.slot, self._offsets
        for serial, headers, value in records:
            envelope = parse_envelope(headers)
            slot.record(0, next(offsets), envelope, value)
            if envelope.kind is Kind.END:  # the answer is there a moment later
                slot.closed(serial)


def chunk_microseconds(sizes: Sequence[int], rounds: int, chunks: int) -> dict[int, list[float]]:
    """In-flight requests -> CPU microseconds for each record, one figure a round; rounds of all sizes take turns."""
    texts = {size: Texts(size) for size in sizes}
    rarely_collect_garbage()
    found: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            records = texts[size].next_records(chunks)
            began = time.thread_time()
            texts[size].take(records)
            found[size].append((time.thread_time() - began) / len(records) * 1e6)
    return found


def join_microseconds(fan_outs: Sequence[int], rounds: int, children: int) -> dict[int, list[float]]:
    """Fan-out -> CPU microseconds for each child of a join, from the first child to the output; children come in any
    order, `children` of them a round, over as many requests as that takes."""
    plan = joined("scale").plan
    found: dict[int, list[float]] = {fan_out: [] for fan_out in fan_outs}
    for number in range(rounds):
        for fan_out in fan_outs:
            slot = slot_of(plan, "gather")
            offset = itertools.count()
            requests = [_fork(plan, n, fan_out, random.Random(number)) for n in range(max(1, children // fan_out))]
            began = time.thread_time()
            for number_of, records in enumerate(requests):
                _join(slot, offset, records, fan_out)
                slot.closed(Serial(0, number_of))
            found[fan_out].append((time.thread_time() - began) / (fan_out * len(requests)) * 1e6)
    return found


def _join(slot: Slot, offset: Iterator[int], records: Sequence[Record], fan_out: int) -> None:
    run: Run | None = None
    for _, headers, value in records:
        effects = slot.record(0, next(offset), parse_envelope(headers), value)
        run = _started(effects) or run
    if run is None:
        raise RuntimeError("a join that has everything was not started")
    walk = run.node.group.branches(0).in_order()
    for _ in range(fan_out):
        next(walk)
    if not slot.returned(run, Value(b"1")):
        raise RuntimeError("a join that has everything did not give its value")


def _fork(plan: Plan, number: int, fan_out: int, rng: random.Random) -> list[Record]:
    serial = Serial(0, number)
    common = Envelope(
        id=f"request-{number}", kind=Kind.ITEM, serial=serial, plan=plan.digest, stage="fan",
        lin=(RunId(1, number + 1),), deadline=DEADLINE,
    )  # fmt: skip
    order = rng.sample(range(fan_out), fan_out)
    found = [Record(serial, as_read(common._replace(path=(i,)).headers()), b"%d" % i) for i in order]
    end = common._replace(kind=Kind.END, total=fan_out)
    return [*found, Record(serial, as_read(end.headers()), None)]


def _started(effects: Sequence[Effect]) -> Run | None:
    return next((effect.run for effect in effects if isinstance(effect, Start)), None)


def bytes_per_open_request(requests: int) -> float:
    """What a stage's slot holds of a request whose text has half come, record values included."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        texts = Texts(requests)
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / len(texts.slot.requests)
    finally:
        tracemalloc.stop()


def as_read(headers: Headers) -> list[tuple[str, bytes | None]]:
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in headers]


def rarely_collect_garbage() -> None:
    """As processes of Descant do."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
