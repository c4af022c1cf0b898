"""The routing policies on live data: `workers.state` in, lanes out; one for each process of a pipeline."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from streams import metrics
from streams.core.failure import Failure
from streams.core.lineage import Serial, format_path, parse_serial
from streams.core.record import Envelope
from streams.errors import RecordError
from streams.runtime.consumer import POLL_SECONDS, READER_CONFIG, retrying
from streams.runtime.contact import WATCHED
from streams.runtime.offsets import OffsetLookup
from streams.runtime.route import OnFatal, OnStranded, Placed, PromptRecord
from streams.runtime.topics import WORKERS_STATE, ensure_topics, state_topic
from streams.settings import KafkaSettings, PipelineSettings
from workers.routing import BlockHasher, Fleet, Fork, NoLaneError, PromptInfo, Router, WorkerState, kappa, policy

EXPIRE_SECONDS: Final = 0.1

STRANDED_SECONDS: Final = 0.3
"""So long before its deadline a request that waits for a model without a worker is failed, with an error that says so.
What a worker that came now could still write would come too late; the closer needs a moment to be told."""

REFUSED_SECONDS: Final = 60.0
REFUSED_MAX: Final = 100
"""Reasons that are remembered as said."""

GROUP_WEIGHT: Final = 0.05
"""How much one closed request moves the mean size of its fork's groups."""

log = structlog.get_logger(__name__)


class _Model:
    """What is known of one model's workers, and this process's own sends to them."""

    def __init__(self, name: str, policy_name: str, lanes: int) -> None:
        self.router: Final = Router(Fleet(name), policy(policy_name), random.Random())  # noqa: S311 — ties, not secrets
        self.hasher = BlockHasher()
        self.tokens_per_byte = 0.25
        self.waiting_lanes: Final = itertools.cycle(range(lanes))
        """Taken in turn while no worker lives: whoever comes next serves them."""


class KafkaRouter:
    """`streams.runtime.route.Router`."""

    def __init__(self, kafka: KafkaSettings, settings: PipelineSettings, policy_name: str) -> None:
        policy(policy_name)  # refused here, not at the first prompt
        self._kafka: Final = kafka
        self._lookup: Final = OffsetLookup(kafka)
        self._settings: Final = settings
        self._policy_name: Final = policy_name
        self._loop: Final = asyncio.get_running_loop()
        self._models: Final[dict[str, _Model]] = {}
        self._prompts: Final[dict[Serial, dict[str, tuple[_Model, Envelope]]]] = {}
        self._fail: OnStranded = lambda envelope, failure: None
        self._fatal: OnFatal = lambda error: None
        self._stranded: Final[list[tuple[int, int, _Model, Envelope]]] = []
        """Heap by deadline: prompts that were placed where nobody lived, or whose worker died."""
        self._order: Final = itertools.count()
        self._refused: Final[dict[str, float]] = {}
        self._groups: Final[dict[Serial, dict[str, int]]] = {}
        self._mean_size: Final[dict[str, float]] = {}
        self._is_open = True
        self._task: Final = asyncio.create_task(self._expire_for_ever())
        self._thread: Final = threading.Thread(target=self._run, name="workers.state", daemon=True)
        self._thread.start()

    # -- streams.runtime.route.Router --------------------------------------------------------------------------------

    def lane(self, model: str, envelope: Envelope, prompt: PromptRecord, *, instances: float) -> Placed:
        known = self._model(model)
        known.router.sends.instances = instances
        now = time.time()
        info = self._info(known, envelope, prompt, now)
        if envelope.serial is not None:
            self._prompts.setdefault(envelope.serial, {})[info.id] = known, envelope
        try:
            choice = known.router.choose(info, now)
        except NoLaneError:
            self._strand(known, envelope)
            metrics.ROUTED.labels(model, "no_worker").inc()
            return Placed(next(known.waiting_lanes), "no_worker")
        known.router.sent(info, choice, now)
        metrics.ROUTED.labels(model, choice.reason).inc()
        return Placed(choice.lane, choice.reason)

    def weight(self, envelope: Envelope) -> float:
        """κ of a prompt: the chance that its delay is its request's."""
        return kappa(self._fork(envelope))

    def closed(self, serial: Serial) -> None:
        now = time.time()
        for prompt_id, (known, _) in self._prompts.pop(serial, {}).items():
            known.router.finished(prompt_id, now)
        for stage, size in self._groups.pop(serial, {}).items():
            mean = self._mean_size.get(stage)
            self._mean_size[stage] = size if mean is None else mean + GROUP_WEIGHT * (size - mean)

    def report_to(self, fail: OnStranded, fatal: OnFatal) -> None:
        self._fail, self._fatal = fail, fatal

    def workers(self, model: str) -> tuple[WorkerState, ...]:
        """What the live workers of a model last said of themselves."""
        fleet = self._model(model).router.fleet
        return tuple(fleet[slot].state for slot in fleet.slots())

    async def close(self) -> None:
        self._is_open = False
        self._lookup.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._thread.join, 5)

    # -- prompts ---------------------------------------------------------------------------------------------------

    def _model(self, name: str) -> _Model:
        found = self._models.get(name)
        if found is None:
            found = self._models[name] = _Model(name, self._policy_name, self._settings.lanes)
        return found

    def _info(self, known: _Model, envelope: Envelope, prompt: PromptRecord, now: float) -> PromptInfo:
        text, per_byte = prompt.prompt, known.tokens_per_byte
        run = envelope.lin[-1] if envelope.lin else ""
        return PromptInfo(
            id=f"{envelope.serial}/{envelope.stage}/{format_path(envelope.path)}/{run}",
            request=envelope.id,
            arrived=now,
            stage=envelope.stage,
            tokens=max(1, int(len(text.encode()) * per_byte)),
            blocks=known.hasher.text(text, stage=envelope.stage),
            block_tokens=128 * per_byte,
            fork=self._fork(envelope),
            max_output=float(prompt.sampling.get("max_tokens", float("inf"))),
        )

    def _fork(self, envelope: Envelope) -> Fork | None:
        """A child's index says how many siblings there are at least, whichever instance sees it."""
        if not envelope.path or envelope.serial is None:
            return None
        sizes = self._groups.setdefault(envelope.serial, {})
        seen = sizes[envelope.stage] = max(sizes.get(envelope.stage, 0), envelope.path[-1] + 1)
        return Fork(None, seen, seen, self._mean_size.get(envelope.stage, 0.0))

    # -- workers.state ---------------------------------------------------------------------------------------------

    async def _expire_for_ever(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_SECONDS)
            now = time.time()
            for known in self._models.values():
                for prompt_id in known.router.expire(now):  # the next owner of its lane serves it, if there is one
                    self._lost(prompt_id)
            self._fail_stranded(int((now + STRANDED_SECONDS) * 1000))

    def _lost(self, prompt_id: str) -> None:
        found = self._prompts.get(parse_serial(prompt_id.partition("/")[0].encode()), {}).get(prompt_id)
        if found is not None:
            self._strand(*found)

    def _strand(self, known: _Model, envelope: Envelope) -> None:
        heapq.heappush(self._stranded, (envelope.deadline, next(self._order), known, envelope))

    def _fail_stranded(self, due_ms: int) -> None:
        while self._stranded and self._stranded[0][0] <= due_ms:
            _, _, known, envelope = heapq.heappop(self._stranded)
            fleet = known.router.fleet
            if envelope.serial in self._prompts and not fleet.slots():
                nobody = NoLaneError(fleet.model, silent=len(fleet.members))
                self._fail(envelope, Failure(nobody.code, str(nobody), envelope.stage))

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001 — a thread's error reaches nobody by itself
            self._call_soon(self._fatal, error)

    def _read(self) -> None:
        retrying(lambda: ensure_topics(self._kafka, [state_topic(self._settings)]))
        config = READER_CONFIG | {"auto.offset.reset": "earliest"}
        try:
            past = self._lookup.end((WORKERS_STATE, 0))
        except KafkaException:
            return  # closed while the broker was away
        consumer = Consumer({**self._kafka.client(), **config, **WATCHED, "group.id": "descant-router"})
        consumer.assign([TopicPartition(WORKERS_STATE, 0, OFFSET_BEGINNING)])
        while self._is_open:
            message = consumer.poll(POLL_SECONDS)
            if message is not None and message.error() is None:
                self._call_soon(self._heard, message, (message.offset() or 0) < past)
        consumer.close()

    def _call_soon(self, function: Callable[..., object], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _heard(self, message: Message, is_replay: bool) -> None:
        value = message.value()
        if not value:
            return
        try:
            state = WorkerState.parse(value)
        except RecordError as error:
            self._refuse(str(error))
            return
        if any(lane >= self._settings.lanes for lane in state.lanes):
            self._refuse(
                f"{state.worker} names lanes beyond the {self._settings.lanes} of the settings: DESCANT_LANES differs"
            )
            return
        known = self._model(state.model)
        known.router.worker_state(state, time.time(), replayed=is_replay)
        known.tokens_per_byte = state.tokens_per_byte
        if state.hashing != known.hasher.hashing and state.hashing.startswith("bytes/"):
            known.hasher = BlockHasher(state.hashing)

    def _refuse(self, reason: str) -> None:
        """Whoever writes nonsense writes it ten times a second: said once a minute."""
        now = time.monotonic()
        if now - self._refused.get(reason, -REFUSED_SECONDS) >= REFUSED_SECONDS:
            if len(self._refused) >= REFUSED_MAX:
                self._refused.clear()
            self._refused[reason] = now
            log.warning("worker state refused", reason=reason)
