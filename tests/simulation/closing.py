"""Processes of the closer: a slot, the decisions of streams.core.closer, and their transactions."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from streams.core.answered import AnsweredIds
from streams.core.closer import Close, Closer
from streams.core.control import ControlEntry
from streams.core.effects import Run
from streams.core.lineage import Serial
from streams.core.offsets import SlotMetadata
from streams.core.plan import REQUEST, InputMode, InputPlan, Plan, StageKind, StagePlan
from streams.core.record import Envelope, Kind
from tests.simulation.broker import Group, Record, Txn
from tests.simulation.functions import Habits
from tests.simulation.host import Host, Phase, record_of
from tests.simulation.process import CONTROL
from tests.simulation.stages import StageHost, StageProcess
from tests.simulation.world import World

ANSWERS = "p.answers"


def closer_stage(plan: Plan) -> StagePlan:
    """The implicit last stage: the request, and what the answer's stage gave."""
    last = plan[plan.answer]
    is_text = last.kind is StageKind.MODEL
    mode = InputMode.STREAM if is_text else InputMode.ITEM
    return StagePlan(
        name="closer",
        kind=StageKind.MAP,
        function=closer_stage,
        inputs=(
            InputPlan("request", REQUEST, InputMode.ITEM, 0, False, str),
            InputPlan("answer", last.name, mode, 0, is_text, str),
        ),
        ancestry=(),
        lineage=(*last.lineage, "closer"),
        output_type=str,
        key_depth=0,
    )


class CloserProcess(StageProcess):
    window: int = 1_000

    def host(self, partition: int) -> Host:
        return CloserHost(self, partition)


class CloserHost(StageHost):
    process: CloserProcess  # type: ignore[misc]

    def __init__(self, process: CloserProcess, partition: int) -> None:
        super().__init__(process, partition)
        self.answered = AnsweredIds(process.window)
        self.closer: Closer
        self.pending: list[Close] = []
        self.txn: Txn | None = None
        self.restore_to: dict[str, int] = {}
        self.answers_end = 0

    # -- takeover --------------------------------------------------------------------------------------------------

    def noted(self) -> None:
        broker = self.world.broker
        for topic in (ANSWERS, CONTROL):
            log = broker.log(topic, self.partition)
            whole = self.world.rules.restores_to_high_watermark
            self.restore_to[topic] = log.end if whole else log.stable_end

    def restore(self) -> bool:
        broker, q = self.world.broker, self.partition
        answers = broker.log(ANSWERS, q)
        if answers.stable_end < self.restore_to[ANSWERS]:
            self.world.count("a takeover waits for a pending transaction's answers")
            return False
        if self.process.control_at.get(q, 0) < self.restore_to[CONTROL]:
            return False
        start = self.metadata.answers_position or 0
        for offset, record in answers.committed():
            if start <= offset < self.restore_to[ANSWERS]:
                envelope = record.envelope
                assert envelope is not None
                assert envelope.serial is not None
                self.answered.written(envelope.id, offset, envelope.serial.offset)
        self.answers_end = self.restore_to[ANSWERS]
        self.closer = Closer(self.process.control.of(q), self.answered)
        return super().restore()

    def is_closed(self, serial: Serial) -> bool:
        return self.closer.is_closed(serial.offset) if self.world.rules.control_is_followed else False

    # -- deciding --------------------------------------------------------------------------------------------------

    def take(self, topic: str, offset: int, envelope: Envelope, value: bytes | None) -> None:
        super().take(topic, offset, envelope, value)
        if topic == f"p.{REQUEST}":
            closes = self.closer.accepted(offset, envelope, value)
            if not self.world.rules.closer_alone_answers:
                closes = (c for c in closes if c.reason != "error")
            self.decide(closes)

    def run_early(self) -> None:
        """A closer writes in transactions, which it does not begin before it has replayed."""

    def emit(self, run: Run | None, envelope: Envelope, value: bytes | None) -> None:
        if envelope.serial is not None and run is not None:
            self.decide(self.closer.answer(envelope.serial.offset, envelope, value))

    def decide(self, closes: Iterable[Close]) -> None:
        for close in closes:
            self.world.note(self, "decides: {} {} {}", close.offset, close.id, close.reason)
            self.pending.append(close)
            self.world.wake(self.process)

    # -- one transaction at a time ---------------------------------------------------------------------------------

    def act(self, rng: Random) -> bool:
        if self.phase == Phase.ACTIVE:
            due = list(self.closer.due(self.world.now_ms))
            if due:
                self.decide(due)
                return True
            if self.pending and not self.is_committing and not self.is_stopping and rng.random() < 0.3:
                self._begin()
                return True
        if super().act(rng):
            return True
        if self.phase == Phase.ACTIVE and self.pending and not self.is_committing and not self.is_stopping:
            self._begin()
            return True
        return False

    def _begin(self) -> None:
        broker, q = self.world.broker, self.partition
        batch, self.pending = self.pending, []
        self.is_committing = True
        txn = self.txn = broker.begin()
        self.world.timeout(txn, 200)
        process, wire, member = self.process, self.process.wire, self.process.member
        closed = process.control.of(q)
        for close in batch:
            self.closer.covered(close)
        low = self.closer.committable
        records: list[tuple[str, Record, Close]] = []
        for close in batch:
            if close.envelope is not None:
                kind = close.envelope.kind if close.envelope.kind is Kind.ERROR else Kind.ITEM
                answer = close.envelope._replace(kind=kind, serial=Serial(q, close.offset), plan=process.plan.digest)
                records.append((ANSWERS, record_of(answer, close.value), close))
            entry = ControlEntry(close.offset, close.reason, low, closed.since(low))
            records.append((CONTROL, Record(None, entry.encode(), 0), close))
        for close in batch:
            self.do(self.slot.closed(Serial(q, close.offset)))
        offsets, metadata = self.transaction_offsets()
        text = metadata.encode() if self.world.rules.keeps_metadata else ""
        written: list[tuple[Close, int]] = []

        def land_records() -> bool:
            if not txn.is_open:
                return False
            for topic, record, close in records:
                record.txn = txn
                offset = broker.append(topic, q, record)
                if topic == ANSWERS:
                    written.append((close, offset))
                self.world.note(self, "writes {}[{}]@{} {}", topic, q, offset, record)
            return True

        def land_offsets() -> bool:
            ok = broker.send_offsets(txn, member, q, offsets, self.topics[0], text)
            self.world.note(self, "sends offsets {}: {}", offsets, "ok" if ok else "refused")
            return ok

        def land_end() -> bool:
            ok = broker.end(txn, commit=True)
            if ok and self.is_dead:
                self.world.count("a dead closer's transaction is committed")
            elif ok and not member.is_in:
                self.world.count("a former member's transaction is committed")
            elif not ok:
                self.world.count("a transaction was aborted before its commit")
            self.world.note(self, "commits its transaction: {}", "ok" if ok else "aborted")
            return ok

        def sent_records(ok: bool) -> None:
            if self._goes_on(ok):
                wire.request(land_offsets, sent_offsets)

        def sent_offsets(ok: bool) -> None:
            if self._goes_on(ok):
                wire.request(land_end, ended)

        def ended(ok: bool) -> None:
            self.txn = None
            if self._goes_on(ok):
                self.is_committing = False
                self.sent = (offsets, text)
                for close, offset in written:
                    self.answered.written(close.id, offset, close.offset)
                    self.answers_end = max(self.answers_end, offset + 1)
                self.answered.forget(offsets[f"p.{REQUEST}"])
                self.is_dirty = True
                if self.is_stopping:
                    process.drained(self)
                self.world.wake(process)

        wire.request(land_records, sent_records)

    def _goes_on(self, ok: bool) -> bool:
        if self.is_dead:
            return False
        if ok:
            return True
        self.is_committing = False
        self.abandoned()
        if not self.world.rules.starts_over_after_abort and self.process.member.is_in:
            self.world.wake(self.process)
            return False
        if self.is_stopping:
            self.process.drained(self)
        elif not self.process.member.is_in:
            self.process.lost_membership()
        else:
            self.process.restart(self)
        return False

    def transaction_offsets(self) -> tuple[dict[str, int], SlotMetadata]:
        offsets, metadata = super().committable()
        accepted = f"p.{REQUEST}"
        offsets[accepted] = min(offsets[accepted], self.closer.committable)
        position = self.answered.position(self.answers_end)
        if not self.world.rules.window_from_oldest_needed:
            position = self.answers_end
        return offsets, SlotMetadata(metadata.epoch, position, metadata.marks)

    def committable(self) -> tuple[dict[str, int], SlotMetadata]:
        return self.transaction_offsets()

    @property
    def has_transaction(self) -> bool:
        return self.txn is not None

    def abandoned(self) -> None:
        """A transaction whose end is not on its way is aborted when it times out, or by the next owner."""
        txn, self.txn = self.txn, None
        if txn is not None and txn.is_open:
            self.world.count("a transaction is left open")
            self.world.note(self, "leaves a transaction open")
            self.world.timeout(txn, 80)

    @property
    def leftovers(self) -> str:
        found = super().leftovers
        if found:
            return found
        if self.closer.open_count:
            return f"{self} holds {self.closer.open_count} open requests"
        if self.pending or self.txn is not None:
            return f"{self} has decisions that are not written"
        return ""


def new_closer(
    world: World, group: Group, name: str, shape: object, habits: Habits, partitions: int, window: int
) -> CloserProcess:
    process = CloserProcess(world, group, name, shape, habits, partitions, 1)  # type: ignore[arg-type]
    process.window = window
    return process
