"""One lane in this process: carries out the effects of the core lane with the engine and the log."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, assert_never

from confluent_kafka import KafkaError, Message

from streams import metrics
from streams.core.coalesce import Coalescer
from streams.core.failure import Failure
from streams.core.lane import Fence, Generate, Halt, Lane, LaneEffect, Look, Phase, Prompt, Write, Writing
from streams.core.lineage import Serial
from streams.core.offsets import SlotMetadata
from streams.core.record import Envelope, parse_envelope
from streams.core.text import Piece
from streams.errors import RecordError
from streams.runtime.consumer import headers_of
from streams.runtime.route import PromptRecord, decode_prompt
from streams.tracing import current
from workers.engines.protocol import Generation, Sampling
from workers.errors import PromptError
from workers.service.spans import TextSpans
from workers.service.textlog import Found

if TYPE_CHECKING:
    from workers.service.worker import Worker


class LaneSlot:
    """SlotState of a lane."""

    def __init__(self, worker: Worker, partition: int, metadata: SlotMetadata, position: int) -> None:
        self._worker: Final = worker
        self.partition: Final = partition
        self._lane: Final = Lane(
            epoch=metadata.epoch,
            position=position,
            next_n=worker.next_n,
            is_closed=worker.is_closed,
            can_resume=worker.engine.can_resume,
        )
        self._destinations: Final[dict[Prompt, PromptRecord]] = {}
        self._appended: Final[OrderedDict[int, int]] = OrderedDict()  # prompt offset -> append time, epoch ms
        self._ends: Final[dict[Prompt, int]] = {}  # where a look ended
        self._tasks: Final[dict[Writing, asyncio.Task[None]]] = {}
        self._coalescers: Final[dict[Writing, Coalescer]] = {}
        self._open_serials: Final[dict[str, set[Serial]]] = {}
        self._is_dropped = False
        tracing = current()
        self._spans: Final = None if tracing is None else TextSpans(tracing, worker.engine.model)
        model = worker.engine.model
        self._tokens_given: Final = metrics.TOKENS.labels(model)
        self._first_token: Final = metrics.FIRST_TOKEN_SECONDS.labels(model)
        self._prompts_done: Final = {o: metrics.PROMPTS.labels(model, o) for o in ("done", "refused", "stopped")}

    # -- SlotState -------------------------------------------------------------------------------------------------

    def record(self, source: int, message: Message) -> None:
        del source
        offset = message.offset() or 0
        try:
            envelope = parse_envelope(headers_of(message))
            pipeline = _pipeline_of(message, envelope.stage)
        except RecordError as error:
            self._worker.dead_letter(message, Failure(error.code, str(error), "worker"))
            self._lane.skip(offset)
            return
        self._appended[offset] = message.timestamp()[1]
        if envelope.serial is not None:
            self._open_serials.setdefault(pipeline, set()).add(envelope.serial)
        self._apply(self._lane.record(offset, pipeline, envelope, message.value()))

    def caught_up(self) -> None:
        self._apply(self._lane.caught_up())

    def closed(self, pipeline: str, serial: Serial) -> None:
        known = self._open_serials.get(pipeline)
        if known is not None and serial in known:
            known.discard(serial)
            self._apply(self._lane.closed(pipeline, serial))

    def sweep(self, pipeline: str, is_closed: Callable[[Serial], bool]) -> None:
        for serial in [s for s in self._open_serials.get(pipeline, ()) if is_closed(s)]:
            self.closed(pipeline, serial)

    def committable(self) -> tuple[dict[int, int], SlotMetadata]:
        offset, metadata = self._lane.committable()
        for prompt in [p for p in self._destinations if p.phase in (Phase.FINISHED, Phase.LOST)]:
            del self._destinations[prompt]
        while self._appended and next(iter(self._appended)) < offset:
            self._appended.popitem(last=False)
        return {0: offset}, metadata

    def drop(self) -> None:
        self._is_dropped = True
        for task in self._tasks.values():
            task.cancel()

    # -- effects ---------------------------------------------------------------------------------------------------

    def _apply(self, effects: Iterable[LaneEffect]) -> None:
        for effect in effects:
            if self._is_dropped:
                return
            match effect:
                case Look(prompt):
                    self._worker.spawn(self._look(prompt))
                case Fence(writing, envelope):
                    self._send_fence(writing, envelope)
                case Generate(writing):
                    self._tasks[writing] = self._worker.spawn(self._generate(writing))
                case Write(writing, envelope, value):
                    self._write(writing, envelope, value)
                case Halt(writing):
                    task = self._tasks.pop(writing, None)
                    if task is not None:
                        task.cancel()
                        self._prompts_done["stopped"].inc()
                case _:
                    assert_never(effect)

    def _destination(self, prompt: Prompt) -> PromptRecord:
        found = self._destinations.get(prompt)
        if found is None:
            found = self._destinations[prompt] = decode_prompt(prompt.value)
        return found

    # -- what the log holds already --------------------------------------------------------------------------------

    async def _look(self, prompt: Prompt) -> None:
        to, since = self._destination(prompt), self._appended.get(prompt.offset, 0)
        found = await self._worker.textlog.look(to.topic, to.partition, since, prompt)
        self._see(prompt, found)
        self._ends[prompt] = found.end
        self._apply(self._lane.looked(prompt))
        if prompt.phase is not Phase.FENCING:
            self._ends.pop(prompt, None)

    def _see(self, prompt: Prompt, found: Found) -> None:
        for envelope, value in found.records:
            self._lane.seen(prompt, envelope, value)

    def _send_fence(self, writing: Writing, envelope: Envelope) -> None:
        to = self._destination(writing.prompt)

        def delivered(error: KafkaError | None, record: Message | None) -> None:
            if error is not None or record is None:
                self._apply(self._lane.refused(writing))
            else:
                self._worker.spawn(self._read_to_fence(writing, to, record.offset() or 0))

        self._worker.producer.send(to.topic, to.key, None, envelope.headers(), delivered, partition=to.partition)

    async def _read_to_fence(self, writing: Writing, to: PromptRecord, fence: int) -> None:
        start = self._ends.pop(writing.prompt)
        found = await self._worker.textlog.read(to.topic, to.partition, start, fence + 1, writing.prompt)
        self._see(writing.prompt, found)
        self._apply(self._lane.fenced(writing))

    # -- generating ------------------------------------------------------------------------------------------------

    async def _generate(self, writing: Writing) -> None:
        load, prompt = self._worker.load, writing.prompt
        try:
            record = self._destination(prompt)
            load.taken(writing, record.prompt, prompt.node.stage, record.weight)
            if self._spans is not None:
                self._spans.start(writing, self.partition)
            async with self._worker.places.admit(_priority(prompt)):
                load.begun(writing, time.time())
                metrics.RESUMED.labels(self._worker.engine.model).inc(len(writing.resume))
                await self._tokens(writing, record)
        except RecordError as error:
            self._apply(self._lane.ended(writing, Failure(error.code, str(error), prompt.node.stage)))
        finally:
            load.finished(writing, time.time())
            self._tasks.pop(writing, None)
            if self._spans is not None:
                self._spans.end(writing)

    async def _tokens(self, writing: Writing, record: PromptRecord) -> None:
        prompt = writing.prompt
        try:
            generation = Generation(
                id=f"{prompt.offset}-{writing.w}",
                prompt=record.prompt,
                sampling=_sampling(record),
                priority=_priority(prompt),
                resume=writing.resume,
            )
        except (TypeError, ValueError):
            failure = Failure("model.prompt", "the prompt's sampling options cannot be read", prompt.node.stage)
            self._apply(self._lane.ended(writing, failure))
            return
        coalescer = self._coalescers[writing] = Coalescer(hold=prompt.envelope.hold or record.whole)
        try:
            began = time.monotonic()
            async with aclosing(self._worker.engine.generate(generation)) as chunks:
                async for chunk in chunks:
                    if chunk.tokens:
                        if began:
                            self._first_token.observe(time.monotonic() - began)
                            began = 0.0
                            if self._spans is not None:
                                self._spans.first_token(writing, chunk.cached_tokens)
                        self._tokens_given.inc(chunk.tokens)
                        self._worker.load.tokens(writing, chunk, time.time())
                        coalescer.add(Piece(chunk.position, chunk.text, chunk.token_ids, chunk.tokens, chunk.logprobs))
                        self._send_due(writing)
            self._send(writing, coalescer.rest())
            self._prompts_done["done"].inc()
            self._apply(self._lane.ended(writing))
        except PromptError as error:
            self._prompts_done["refused"].inc()
            self._apply(self._lane.ended(writing, Failure(error.code, str(error), prompt.node.stage)))
        finally:
            del self._coalescers[writing]

    def _send_due(self, writing: Writing) -> None:
        coalescer = self._coalescers.get(writing)
        if coalescer is not None:
            self._send(writing, coalescer.due(writing.unacked))

    def _send(self, writing: Writing, piece: Piece | None) -> None:
        if piece is not None:
            self._apply(self._lane.tokens(writing, piece))

    def _write(self, writing: Writing, envelope: Envelope, value: bytes | None) -> None:
        to = self._destination(writing.prompt)
        if self._spans is not None:
            envelope = self._spans.marked(writing, envelope)

        def delivered(error: KafkaError | None, _: Message | None) -> None:
            if self._is_dropped:
                return
            if error is None:
                self._lane.acked(writing)
                self._send_due(writing)
            else:
                self._apply(self._lane.refused(writing))

        self._worker.producer.send(to.topic, to.key, value, envelope.headers(), delivered, partition=to.partition)


def _priority(prompt: Prompt) -> float:
    """Lowest first: the request that ends first. Where all are given the same time, that is the earliest one."""
    return prompt.envelope.deadline / 1000


def _pipeline_of(message: Message, stage: str) -> str:
    """Whose request a prompt belongs to: its text goes to `<pipeline>.<stage>`."""
    topic = decode_prompt(message.value()).topic if message.value() else ""
    if not topic.endswith(f".{stage}"):
        raise RecordError("the prompt's destination is not its stage's topic", code="record.prompt")
    return topic.removesuffix(f".{stage}")


def _sampling(record: PromptRecord) -> Sampling:
    given = dict(record.sampling)
    if "stop" in given:
        given["stop"] = tuple(given["stop"])
    return Sampling(**given)
