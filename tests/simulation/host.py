"""What a process holds of one slot, lane or partition of the ingress: takeover, commits, and reading."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Final

from streams.core.lineage import Serial
from streams.core.offsets import SlotMetadata, decode_metadata
from streams.core.record import Envelope
from tests.simulation.broker import Record

if TYPE_CHECKING:
    from tests.simulation.process import Process

COMMIT_STEPS: Final = 60
"""Longest wait before a commit: often enough that marks exist, seldom enough that runs end without one."""


CLAIM_STEPS: Final = 10
"""Between two questions whether a slot is ours that was not at the first."""


class Phase:
    WAITING, CLAIMING, FETCHING, FENCING, RESTORING, REPLAYING, ACTIVE = range(7)


class Host:
    """One slot, lane or closer in a process, from the assignment of its first partition on (PROTOCOL §7)."""

    def __init__(self, process: Process, partition: int, topics: tuple[str, ...]) -> None:
        self.process: Final = process
        self.world: Final = process.world
        self.partition: Final = partition
        self.topics: Final = topics
        """The first is the home."""
        self.have: set[str] = set()
        self.releases: list[str] = []
        self.phase = Phase.WAITING
        self.metadata = SlotMetadata(0)
        self.at: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        self.is_dead = False
        self.is_stopping = False
        self.is_committing = False
        self.sent: tuple[dict[str, int], str] | None = None
        self.commits_at = 0
        self.claims_at = 0

    def __repr__(self) -> str:
        return f"{self.process}[{self.partition}]"

    def drop(self) -> None:
        if self.phase == Phase.REPLAYING:
            self.world.count("a replay is cut short")
        self.is_dead = True
        self.abandoned()
        self.stop()

    def run(self, rng: Random) -> bool:
        if self.phase >= Phase.REPLAYING:
            return self.act(rng)
        if self.phase == Phase.WAITING:
            return self._wait()
        if self.phase == Phase.FETCHING:
            return self._fetch()
        if self.phase == Phase.RESTORING:
            return self.restore()
        return False

    def _wait(self) -> bool:
        rules = self.world.rules
        if self.have != set(self.topics) and (rules.waits_for_all_inputs or not self.have):
            return False
        if not rules.claims_before_fetch:
            self.phase = Phase.FETCHING
            return True
        if self.world.step < self.claims_at:
            return False
        self.phase = Phase.CLAIMING
        process, topics = self.process, tuple(self.have)
        group, member, partition = process.group, process.member, self.partition
        process.wire.request(lambda: group.owns(topics, partition, member), self._claimed)
        return True

    def _claimed(self, ok: bool) -> None:
        if self.is_dead:
            return
        if ok:
            self.phase = Phase.FETCHING
            self.world.wake(self.process)
            return
        self.world.count("a member is told that what it was assigned is not its own")
        self.phase = Phase.WAITING
        self.claims_at = self.world.step + CLAIM_STEPS
        self.world.at(self.claims_at, self.process)
        self.process.lost_membership()

    def _fetch(self) -> bool:
        process, broker, rules = self.process, self.world.broker, self.world.rules
        group = process.group.name
        if rules.waits_for_pending_offsets and any(
            broker.has_pending_offsets(group, topic, self.partition) for topic in self.topics
        ):
            return False
        stored = {topic: broker.offsets.get((group, topic, self.partition), (0, "")) for topic in self.topics}
        self.at = {topic: offset for topic, (offset, _) in stored.items()}
        if not all(self.may_read(topic) for topic in self.topics):
            return True
        found = decode_metadata(stored[self.topics[0]][1])
        inherited = found or SlotMetadata(self.world.epoch_clock if rules.keeps_metadata else 0)
        epoch = inherited.epoch + 1 if rules.raises_epoch else max(1, inherited.epoch)
        self.metadata = SlotMetadata(epoch, inherited.answers_position, inherited.marks)
        self.phase = Phase.FENCING
        self.world.note(self, "fetches offsets {}, takes epoch {}", dict(self.at), epoch)
        if rules.commits_epoch_first:
            self.commit(dict(self.at), self.metadata, self._fenced)
        else:
            self._fenced(True)
        return True

    def _fenced(self, ok: bool) -> None:
        if self.is_dead:
            return
        if not ok:
            self.process.lost_membership()
            return
        self.ends = {topic: self.world.broker.log(topic, self.partition).end for topic in self.topics}
        self.phase = Phase.RESTORING
        self.noted()
        self.world.wake(self.process)

    def may_read(self, topic: str) -> bool:
        """Whether what comes next is still there; if not, the process has ended."""
        start = self.world.broker.log(topic, self.partition).start
        if self.at[topic] >= start:
            return True
        if not self.world.rules.out_of_range_is_fatal:
            self.at[topic] = start
            return True
        self.process.fatal(f"{topic}[{self.partition}] begins at {start}, after {self.at[topic]}")
        return False

    def commit(self, offsets: dict[str, int], metadata: SlotMetadata, reply: Any) -> None:
        self.is_committing = True
        text = metadata.encode() if self.world.rules.keeps_metadata else ""
        self.sent = (offsets, text)
        member, home, partition = self.process.member, self.topics[0], self.partition
        broker = self.world.broker

        def land() -> bool:
            ok = broker.commit(member, partition, offsets, home, text)
            if not ok:
                self.world.count("a former member's commit is refused")
            self.world.note(self, "commits {} epoch {}: {}", offsets, metadata.epoch, "ok" if ok else "refused")
            return ok

        self.process.wire.request(land, lambda ok: self._replied(reply, ok))

    def _replied(self, reply: Any, ok: bool) -> None:
        self.is_committing = False
        if not self.is_dead:
            if self.is_stopping:
                self.process.drained(self)
            else:
                reply(ok)
        self.world.wake(self.process)

    def commits_later(self, rng: Random) -> bool:
        """Commits are made at intervals: True until the next is due."""
        step = self.world.step
        if self.commits_at <= step - COMMIT_STEPS:
            self.commits_at = step + rng.randrange(COMMIT_STEPS)
            self.world.at(self.commits_at, self.process)
        return step < self.commits_at

    def commit_now(self) -> None:
        """Ask for a commit at once, if it is a host that commits by itself."""

    def committed(self, ok: bool) -> None:
        if not ok:
            self.process.lost_membership()

    @property
    def is_working(self) -> bool:
        return False

    @property
    def has_transaction(self) -> bool:
        return False

    @property
    def has_marks(self) -> bool:
        """The last commit that was sent carries marks."""
        found = decode_metadata(self.sent[1]) if self.sent is not None else None
        return found is not None and bool(found.marks)

    # -- what a kind of host does ----------------------------------------------------------------------------------

    def noted(self) -> None:
        """The end offsets are noted."""

    def restore(self) -> bool:
        """Until phase REPLAYING."""
        raise NotImplementedError

    def act(self, rng: Random) -> bool:
        raise NotImplementedError

    def closed(self, serial: Serial) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """The slot is lost: cancel its tasks."""

    def abandoned(self) -> None:
        """Dropped or dead: transactions that are open are nobody's."""


def record_of(envelope: Envelope, value: bytes | None) -> Record:
    return Record(envelope, value, 0)
