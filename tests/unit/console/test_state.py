"""The folds behind the pages: requests from records, workers from announcements, readers that fall behind."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from console.state.channel import Channel
from console.state.events import AnswerEvent, RequestEvent
from console.state.fleet import Fleet
from console.state.live import LiveRequests
from streams.core.failure import Failure
from streams.core.lineage import RunId
from streams.core.plan import REQUEST
from streams.core.record import Envelope, Kind
from streams.core.text import Piece, encode_piece
from tests.console.pipelines import checker
from workers.routing.blocks import pack_blocks
from workers.routing.state import WorkerState

PLAN = checker("factcheck", "gemma").plan
NOW = 1_000.0
DEADLINE = int((NOW + 60) * 1000)


class World:
    """Writes records of one request and keeps what the console made of them."""

    def __init__(self, keep: int = 10) -> None:
        self.live = LiveRequests(PLAN, keep)
        self.events: list[RequestEvent] = []

    def on(self, source: str, kind: Kind, value: Any = None, *, id: str = "r", **fields: Any) -> list[RequestEvent]:
        envelope = Envelope(id, kind, stage=source if source != REQUEST else "", deadline=DEADLINE, **fields)
        encoded = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
        found = self.live.on(source, envelope, encoded, NOW)
        self.events += found
        return found

    def chunk(self, position: int, text: str, *, n: int = 1) -> list[RequestEvent]:
        piece = encode_piece(Piece(position, text, (1,), 1))
        run = RunId(1, n)
        return self.on("draft", Kind.CHUNK, piece, lin=(run,), position=position, base=run, w=run)

    def claim(self, index: int, *, draft: int = 1, n: int = 1) -> list[RequestEvent]:
        return self.on("claims", Kind.ITEM, {"sentence": f"{index}"}, path=(index,), lin=(RunId(1, draft), RunId(1, n)))

    @property
    def nodes(self) -> set[tuple[str, tuple[int, ...]]]:
        return set(self.live["r"].nodes)


def kinds(events: list[RequestEvent]) -> list[str]:
    return [event.type for event in events]


def test_a_request_is_followed_from_its_question_to_its_answer() -> None:
    world = World()
    assert kinds(world.on(REQUEST, Kind.ITEM, {"text": "Tell me  about\nBolivia."})) == ["request", "request"]
    world.chunk(0, "One ")
    world.chunk(1, "two.")
    world.claim(0)
    assert world.live["r"].summary(NOW).state == "running"
    (answer,) = world.on("", Kind.ITEM, {"text": "done"})
    assert isinstance(answer, AnswerEvent)
    summary = world.live["r"].summary(NOW)
    assert (summary.state, summary.title, summary.items, summary.texts) == ("answered", "Tell me about Bolivia.", 1, 1)
    replay = list(world.live["r"].replay())
    assert kinds(replay) == ["request", "text", "item", "answer"]
    assert replay[1].text == "One two."  # type: ignore[union-attr]


def test_what_was_made_from_a_superseded_run_goes_and_its_late_records_stay_out() -> None:
    world = World()
    world.chunk(0, "old", n=1)
    world.claim(0, draft=1)
    world.claim(1, draft=1)
    events = world.chunk(0, "new", n=2)
    assert kinds(events) == ["gone", "gone", "gone", "text"]
    assert world.nodes == {("draft", ())}
    assert world.claim(2, draft=1) == []
    assert kinds(world.claim(0, draft=2, n=2)) == ["item"]
    assert world.nodes == {("draft", ()), ("claims", (0,))}


def test_a_chunk_that_comes_twice_is_told_once_and_one_with_a_gap_never() -> None:
    world = World()
    world.chunk(0, "a")
    assert world.chunk(0, "a") == []
    assert world.chunk(5, "z") == []
    assert kinds(world.chunk(1, "b")) == ["text"]


def test_errors_and_drops_stand_in_their_places() -> None:
    world = World()
    lin = (RunId(1, 1), RunId(1, 1))
    world.on("claims", Kind.ERROR, Failure("stage.raised", "no", "claims").encode(), path=(0,), lin=lin)
    world.on("claims", Kind.TOMBSTONE, path=(1,), lin=lin)
    world.on("", Kind.ERROR, Failure("deadline", "too late", "verdict").encode())
    assert kinds(world.events) == ["request", "failed", "dropped", "answer"]
    assert world.live["r"].summary(NOW).state == "failed"


@pytest.mark.parametrize("value", [b"", b"{", b"\xff\xfe"])
def test_a_record_that_cannot_be_read_changes_nothing(value: bytes) -> None:
    world = World()
    world.claim(0)
    before = list(world.live["r"].replay())
    world.on("claims", Kind.ITEM, value or b"{", path=(0,), lin=(RunId(1, 1), RunId(1, 1)))
    world.on("draft", Kind.CHUNK, value, lin=(RunId(1, 1),), base=RunId(1, 1), w=RunId(1, 1))
    world.on("claims", Kind.ITEM, b"{}", path=(0,), lin=(RunId(9, 9),))
    assert [event for event in world.live["r"].replay() if event.type == "item"] == before[1:]


def test_only_the_newest_requests_are_kept_and_a_late_answer_opens_none() -> None:
    world = World(keep=3)
    for n in range(5):
        world.on(REQUEST, Kind.ITEM, {"text": str(n)}, id=f"r{n}")
    assert [live.id for live in world.live.newest_first()] == ["r4", "r3", "r2"]
    assert world.on("", Kind.ITEM, {}, id="r0") == []
    assert "r0" not in world.live


def test_a_request_without_an_answer_long_after_its_deadline_is_lost() -> None:
    world = World()
    world.claim(0)
    assert world.live["r"].summary(NOW + 70).state == "running"
    assert world.live["r"].summary(NOW + 80).state == "lost"


def announced(worker: str, sequence: int, **fields: Any) -> bytes:
    given: dict[str, Any] = {"lanes": (0, 1), "ts": NOW, **fields}
    return WorkerState(worker=worker, epoch=1, sequence=sequence, model="gemma", **given).model_dump_json().encode()


def test_workers_lanes_and_their_cache_are_told_as_announced() -> None:
    fleet = Fleet()
    fleet.on(announced("w1", 0, full=True, added=pack_blocks([1, 2, 3]), running=2), NOW)
    fleet.on(announced("w1", 1, added=pack_blocks([4]), removed=pack_blocks([1, 2])), NOW + 1)
    fleet.on(announced("w1", 0, running=9), NOW + 1)  # late
    fleet.on(b"{}", NOW + 1)
    view = fleet.view(NOW + 1.5, {"gemma": 3})
    (row,) = view.workers
    assert (row.state, row.running, row.prefix_blocks, row.history) == ("idle", 0, 2, (2, 0))
    assert [(lane.lane, lane.worker) for lane in view.models[0].lanes] == [(0, "w1"), (1, "w1"), (2, None)]
    assert fleet.unreadable == 1
    assert fleet.view(NOW + 10).workers[0].state == "silent"
    assert fleet.view(NOW + 100).workers == ()


async def test_a_reader_that_falls_behind_is_told_so_and_others_are_not_held_up() -> None:
    channel: Channel[int] = Channel()
    async with channel.subscribe() as slow, channel.subscribe() as quick:
        got: list[list[int] | None] = []

        async def read() -> None:
            async for batch in quick:
                got.append(batch)

        reading = asyncio.create_task(read())
        for n in range(2_001):
            channel.publish(n)
            if n % 100 == 0:
                await asyncio.sleep(0)
        channel.close()
        await reading
        assert [each for batch in got if batch for each in batch] == list(range(2_001))
        assert [batch async for batch in slow] == [None]
    assert channel.is_empty
