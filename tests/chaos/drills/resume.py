"""What it saves to go on with a text behind a fence, where it would be written again: tokens and time, under kills."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

from streams.broker import EmbeddedKafka
from tests.chaos import pipelines
from tests.chaos.drills import restarting
from tests.chaos.drills.drill import quantile
from tests.chaos.fleet import DESCANT
from tests.chaos.scene import Scene, Size
from tests.chaos.texts import Texts
from tests.chaos.wire import Rec, read_topics

TOLD: Final = "told"

ENGINES: Final[dict[str, Mapping[str, str]]] = {
    # As a 70 tok/s model: a text of 160 tokens takes 2.3 s. Each process writes other texts.
    "simulated": {"salt": '"run"', "step_seconds": "0.0143"},
    "llamacpp": {},
    "vllm": {"engine_args": '{"enforce_eager": true, "block_size": 32, "kv_cache_memory_bytes": 268435456}'},
}

WORKERS: Final = 2
KILL_SECONDS: Final = (9.0, 14.0)
"""Between two kills: the lanes of the one before have found an owner by then."""
PATIENCE_SECONDS: Final = 120.0


def compare(engine: str, requests: int, kills: int, seed: int, folder: Path, say: Callable[[str], None]) -> tuple[
    dict[str, Any], list[str]
]:  # fmt: skip
    """The same load and the same kills twice, in one run."""
    result: dict[str, Any] = {"engine": engine, "seed": seed}
    faults: list[str] = []
    for way, module in (("resumed", DESCANT), ("restarted", restarting.__name__)):
        (folder / way).mkdir()
        with EmbeddedKafka() as kafka:
            found, wrong = _play(kafka.bootstrap, engine, module, requests, kills, seed, folder / way, say)
        result[way] = found
        faults += [f"{way}: {line}" for line in wrong]
        say(f"{way}: {found}")
    cut = [result[way].get("cut_short_seconds_p50") for way in ("resumed", "restarted")]
    result["tokens_saved"] = result["restarted"]["tokens_again"] - result["resumed"]["tokens_again"]
    result["cut_short_seconds_saved_p50"] = None if None in cut else round(cut[1] - cut[0], 2)
    return result, faults


def _play(
    bootstrap: str,
    engine: str,
    module: str,
    requests: int,
    kills: int,
    seed: int,
    folder: Path,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], list[str]]:
    plan = getattr(pipelines, TOLD).plan
    chance = Random(seed)  # noqa: S311 — the same kills for both
    with Scene(bootstrap, folder, {TOLD: plan}, Size(lanes=WORKERS), {}) as scene:
        scene.add_crew("stages", TOLD, ["ingress", "tell", "closer"])
        for number in range(1, WORKERS + 1):
            scene.add_worker(f"worker-{number}", ENGINES[engine], engine=engine, module=module)
        if not scene.begin():
            return {"tokens_again": 0}, scene.fleet.faults
        kill_at = sorted(_times(chance, kills))
        pace = (kill_at[-1] if kill_at else KILL_SECONDS[0]) / requests
        began, sent, killed = time.monotonic(), 0, 0
        while sent < requests or killed < len(kill_at):
            at = time.monotonic() - began
            while sent < requests and sent * pace <= at:
                scene.send(sent, may_fail=False)
                sent += 1
            if killed < len(kill_at) and kill_at[killed] <= at:
                scene.fleet.kill(f"worker-{killed % WORKERS + 1}", 0.0)
                killed += 1
                say(f"{at:6.1f} s  worker killed, {sent} sent, {len(scene.answers.answered)} answered")
            scene.tick()
        scene.settle()
        scene.end()
        topics = read_topics(bootstrap, [plan.topic("tell"), plan.topic("answers")])
        found, faults = _tell(scene, topics[plan.topic("tell")], topics[plan.topic("answers")])
    return {"kills": killed, **found}, [*faults, *scene.fleet.faults]


def _times(chance: Random, kills: int) -> list[float]:
    at, found = 0.0, []
    for _ in range(kills):
        at += chance.uniform(*KILL_SECONDS)
        found.append(at)
    return found


def _tell(scene: Scene, chunks: list[Rec], answers: list[Rec]) -> tuple[dict[str, Any], list[str]]:
    texts = Texts(chunks)
    faults = list(texts.faults)
    written: dict[str, int] = {}
    writers: dict[str, set[object]] = {}
    bases: dict[str, set[object]] = {}
    for rec in chunks:
        if rec.w is not None:
            writers.setdefault(rec.serial, set()).add(rec.w)
            bases.setdefault(rec.serial, set()).add(rec.base)
        if rec.kind == "chunk":
            written[rec.serial] = written.get(rec.serial, 0) + len(rec.body()["ids"])
    seen = scene.answers.answered
    needed = 0
    latencies: dict[bool, list[float]] = {True: [], False: []}
    for rec in answers:
        wholes = [whole for _, whole in texts.whole(rec.serial, "tell", ())]
        if rec.body() not in wholes:
            faults.append(f"{rec.id} is answered with a text that nobody wrote")
        place = (rec.topic, rec.id)
        if place in seen:
            latencies[len(writers.get(rec.serial, ())) > 1].append(seen[place] - scene.sent_at[place])
        needed += texts.length(rec.serial, "tell", ())
    asked = len(scene.sent_at)
    if len({rec.id for rec in answers}) != asked or len(answers) != asked:
        faults.append(f"{len(answers)} answers to {asked} requests")
    cut, whole = latencies[True], latencies[False]
    return {
        "requests": asked,
        "answered": len(answers),
        "cut_short": len(cut),
        "begun_again": sum(len(found) > 1 for found in bases.values()),
        "tokens_needed": needed,
        "tokens_written": sum(written.values()),
        "tokens_again": sum(written.values()) - needed,
        "cut_short_seconds_p50": round(statistics.median(cut), 2) if cut else None,
        "cut_short_seconds_p90": round(quantile(cut, 0.9), 2) if cut else None,
        "others_seconds_p50": round(statistics.median(whole), 2) if whole else None,
    }, faults
