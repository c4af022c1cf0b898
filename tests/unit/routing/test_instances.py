"""How many share a model's load, and that the router on live states acts on it."""

from __future__ import annotations

import time

import pytest

from streams.core.lineage import RunId, Serial
from streams.core.record import Envelope, Kind
from streams.runtime.route import PromptRecord, instances_of
from streams.settings import KafkaSettings, PipelineSettings
from tests.integration.observed import made
from workers.routing import WorkerState
from workers.service.router import KafkaRouter

PLAN = made("p", "m").plan


@pytest.mark.parametrize(("here", "expected"), [(6, 1.0), (3, 2.0), (1, 6.0), (4, 1.5), (0, 6.0)])
def test_whoever_has_half_of_the_slots_is_one_of_two(here: int, expected: float) -> None:
    """Without a slot, a run that ends late still sends: as one of as many as there can be."""
    assert instances_of(PLAN, "m", 6, {"draft": here, "claims": 6}) == expected


async def test_what_others_sent_meanwhile_counts_as_this_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KafkaRouter, "_read", lambda self: None)  # no broker: the states are told below
    router = KafkaRouter(KafkaSettings(), PipelineSettings(), "descant")
    try:
        known = router._model("m")
        for number in range(2):
            state = WorkerState(
                worker=f"w{number}", epoch=1, sequence=0, model="m", lanes=(number,), ts=time.time(), full=True
            )
            known.router.worker_state(state, time.time())
        envelope = Envelope(
            id="r", kind=Kind.ITEM, serial=Serial(0, 1), stage="draft", lin=(RunId(1, 1),),
            deadline=int(time.time() * 1000) + 60_000,
        )  # fmt: skip
        router.lane("m", envelope, PromptRecord("a prompt " * 40, {}, "p.draft", 0, "k"), instances=1)
        alone = known.router.sends.pending_tokens().sum()
        router.lane("m", envelope, PromptRecord("a prompt " * 40, {}, "p.draft", 0, "k"), instances=6)
        assert known.router.sends.pending_tokens().sum() == pytest.approx(6 * alone)
    finally:
        await router.close()
