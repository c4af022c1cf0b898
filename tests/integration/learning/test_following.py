"""A stage whose model is promoted, tried, rolled back and broken while it answers: no request is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import BaseModel

from learning import desk
from learning.artefacts import FolderStore, Store
from learning.errors import StoreError
from learning.following import Following, following
from learning.records import ArtefactRef, ModelVersion, VersionState
from learning.view import topics
from streams import Pipeline, Resource
from streams.client import Client
from streams.runtime.process import PipelineProcess, roles_of
from streams.runtime.topics import ensure_topics
from streams.settings import KafkaSettings, PipelineSettings
from streams.testing import KafkaForTests
from tests.integration.learning.test_commands import version

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

WAIT_SECONDS_MAX = 60.0


class Question(BaseModel):
    n: int


class Answer(BaseModel):
    n: int
    by: str


class Desk:
    def __init__(self, kafka: KafkaForTests, folder: Path) -> None:
        self.settings = KafkaSettings(bootstrap=kafka.bootstrap)
        self.store = FolderStore(folder)
        self.model = kafka.unique("model")

    def make(self, number: int, state: VersionState) -> ModelVersion:
        reference = self.store.put(self.model, f"says {number}".encode(), format="txt")
        made = version(self.model, number, state, reference, "0" * 64)
        desk.publish(self.settings, [made])
        return made

    def pipeline(self, name: str) -> tuple[Pipeline, Resource[Following[str]]]:
        pipeline = Pipeline(name)
        says = Resource(
            following(self.model, lambda _, content: content.decode(), lambda: self.store, lambda: "says nothing")
        )

        @pipeline.stage(uses=[says])
        async def answer(question: Question) -> Answer:
            said = says.value.of(str(question.n))
            await asyncio.sleep(0.001)
            return Answer(n=question.n, by=said)

        @pipeline.flow
        def flow(question: Question) -> Answer:
            return answer(question)

        return pipeline, says


class Asking:
    """Asks without a pause, and keeps what is answered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.asked = 0
        self.said: list[str] = []

    async def run(self) -> None:
        while True:
            handles = [await self._client.submit(Question(n=self.asked + i)) for i in range(20)]
            self.asked += len(handles)
            for handle in handles:
                self.said.append((await handle.answer()).by)

    async def until_all_say(self, what: set[str]) -> Counter[str]:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while True:
                begun = len(self.said)
                while len(self.said) < begun + 60:  # noqa: ASYNC110 a list has no event
                    await asyncio.sleep(0.02)
                if set(self.said[begun + 20 :]) == what:
                    return Counter(self.said[begun + 20 :])


@asynccontextmanager
async def asking(desk: Desk, pipeline: Pipeline) -> AsyncIterator[Asking]:
    settings = PipelineSettings(partitions=3)
    async with (
        PipelineProcess(pipeline.plan, roles_of(pipeline.plan), desk.settings, settings),
        Client(pipeline, desk.settings) as client,
    ):
        asking = Asking(client)
        task = asyncio.create_task(asking.run())
        try:
            yield asking
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_versions_come_and_go_under_traffic(kafka: KafkaForTests, tmp_path: Path) -> None:
    hand = Desk(kafka, tmp_path)
    pipeline, _ = hand.pipeline(kafka.unique("served"))
    async with asking(hand, pipeline) as traffic:
        await traffic.until_all_say({"says nothing"})
        ensure_topics(hand.settings, topics())
        await asyncio.to_thread(hand.make, 1, VersionState.CURRENT)
        await traffic.until_all_say({"says 1"})

        await asyncio.to_thread(hand.make, 2, VersionState.CANDIDATE)
        await asyncio.to_thread(desk.try_out, hand.settings, hand.model, 2, 0.5)
        shares = await traffic.until_all_say({"says 1", "says 2"})
        assert 0.2 < shares["says 2"] / shares.total() < 0.8
        await asyncio.to_thread(desk.promote, hand.settings, hand.model, 2)
        await traffic.until_all_say({"says 2"})

        third = await asyncio.to_thread(hand.make, 3, VersionState.HELD)
        (tmp_path / third.artefact.uri).write_bytes(b"something else")
        await asyncio.to_thread(desk.promote, hand.settings, hand.model, 3)
        await asyncio.sleep(2)
        await traffic.until_all_say({"says 2"})  # its bytes are not those that the record names

        await asyncio.to_thread(desk.roll_back, hand.settings, hand.model)
        await traffic.until_all_say({"says 2"})
        await asyncio.to_thread(desk.promote, hand.settings, hand.model, 1)
        await traffic.until_all_say({"says 1"})
        assert traffic.asked - len(traffic.said) <= 20, "a request has no answer"


async def test_a_process_starts_with_what_was_promoted(kafka: KafkaForTests, tmp_path: Path) -> None:
    hand = Desk(kafka, tmp_path)
    ensure_topics(hand.settings, topics())
    for number in (1, 2):
        hand.make(number, VersionState.CURRENT)
    pipeline, says = hand.pipeline(kafka.unique("served"))
    async with says.opened(hand.settings) as followed:
        assert (followed.of("any"), followed.serving.version) == ("says 2", 2)
    async with asking(hand, pipeline) as traffic:
        await traffic.until_all_say({"says 2"})
        assert set(traffic.said) == {"says 2"}


class Away:
    """A store that does not answer at first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_away = True

    def get(self, ref: ArtefactRef) -> bytes:
        if self.is_away:
            raise StoreError("the store is away", code="learning.artefact.unreachable")
        return self._store.get(ref)

    def put(self, model: str, content: bytes, *, format: str) -> ArtefactRef:
        raise NotImplementedError

    def check(self) -> None: ...


async def test_a_store_that_comes_back_is_asked_again(
    kafka: KafkaForTests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learning.following.STORE_SECONDS", 0.1)
    hand = Desk(kafka, tmp_path)
    ensure_topics(hand.settings, topics())
    hand.make(1, VersionState.CURRENT)
    store = Away(hand.store)
    opening = following(hand.model, lambda _, content: content.decode(), lambda: store, lambda: "says nothing")
    async with opening(hand.settings) as followed:
        assert followed.of("any") == "says nothing"
        store.is_away = False
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while followed.of("any") != "says 1":  # noqa: ASYNC110 (it comes from a thread)
                await asyncio.sleep(0.05)
