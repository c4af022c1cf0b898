"""A virtual process: one member of one group, with an inbox, a wire, a run counter and a follower of `control`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from streams.core.control import Control, decode_control
from streams.core.lineage import Serial
from streams.core.offsets import SlotMetadata, decode_metadata
from streams.core.record import Envelope
from tests.simulation.broker import Group, Member, Record, Wire
from tests.simulation.world import World

Task = tuple[Callable[..., Any], tuple[Any, ...]]


class Process:
    """Its subclasses say what a host of a slot does once it has taken over."""

    def __init__(self, world: World, group: Group, name: str) -> None:
        self.world: Final = world
        self.group: Final = group
        self.name: Final = name
        self.is_paused = False
        self.is_down = False
        self.notices_at = 0
        self._boot()

    def _boot(self) -> None:
        self.inbox: deque[Task] = deque()
        self.wire = Wire(self.world, self)
        self.hosts: dict[int, Host] = {}
        self.control = Control()
        self.control_at: dict[int, int] = {}
        self.runs_started = 0
        self.is_behind = False
        self._start_following()
        if self.world.rules.fixes_partition_count and self.world.broker.grown:
            self.is_down = True
            topic, count = next(iter(self.world.broker.grown.items()))
            self.refuse(f"topic {topic} has {count} partitions, the settings say {count - 1}")
            return
        self.member = self.group.join(self)
        self.world.wake(self)

    def __repr__(self) -> str:
        return self.name

    def refuse(self, why: str) -> None:
        self.world.note(self, "refuses: {}", why)
        self.world.refusals.append((self.world.step, f"{self}: {why}"))

    def next_n(self) -> int:
        self.runs_started += 1
        return self.runs_started

    # -- the inbox -------------------------------------------------------------------------------------------------

    def deliver(self, task: Callable[..., Any], *args: Any) -> None:
        self.inbox.append((task, args))
        self.world.wake(self)

    def run(self, rng: Random) -> bool:
        if self.is_paused or self.is_down:
            return False
        if self.is_behind and self.world.step >= self.notices_at:
            self.lost_membership()
            return True
        for kind in (0, 1, 2) if (first := rng.random()) < 0.5 else (1, 2, 0) if first < 0.8 else (2, 0, 1):
            if kind == 0:
                if self.inbox:
                    task, args = self.inbox.popleft()
                    task(*args)
                    return True
            elif kind == 1:
                hosts = list(self.hosts.values())
                if len(hosts) > 1:
                    rng.shuffle(hosts)
                if any(host.run(rng) for host in hosts):
                    return True
            elif self._follow():
                return True
        return False

    # -- faults ----------------------------------------------------------------------------------------------------

    def crash(self, keep: int, rng: Random) -> None:
        if self.is_down:
            return
        self._die(keep, rng)
        self._boot()

    def _die(self, keep: int, rng: Random) -> None:
        self.world.note(self, "dies")
        if any(self.wire.links.values()):
            self.world.count("a process dies with records in flight")
        self.wire.orphan(keep, rng)
        for host in self.hosts.values():
            if host.phase in (Phase.FENCING, Phase.RESTORING, Phase.REPLAYING):
                self.world.count("a process dies while it takes a slot over")
            host.is_dead = True
            host.abandoned()
        self.group.kick(self.member)
        self.is_paused = False

    def fatal(self, why: str) -> None:
        """It ends, says why, and would say the same again if it were started again."""
        self._die(0, self.world.rng)
        self.hosts.clear()
        self.is_down = True
        self.refuse(why)

    def cut_off(self, steps: int) -> None:
        """The group gives its partitions to others; it does not notice for some steps."""
        if self.is_down:
            return
        self.world.note(self, "is kicked out, and does not notice")
        self.group.kick(self.member)
        self.is_behind, self.notices_at = True, self.world.step + steps
        self.world.at(self.notices_at, self)

    def pause(self) -> None:
        self.world.note(self, "stops")
        self.is_paused = True

    def resume(self) -> None:
        if self.is_paused:
            self.world.note(self, "goes on")
            self.is_paused = False
            self.world.wake(self)

    def lost_membership(self) -> None:
        if self.member.is_in:
            self.is_behind = False
            return
        self.world.note(self, "notices that it was kicked out, joins again")
        self.is_behind = False
        for host in tuple(self.hosts.values()):
            host.drop()
        self.hosts.clear()
        self.member = self.group.join(self)

    def may_be_refused(self, acked: Callable[..., None]) -> bool:
        return False

    def refused(self, acked: Callable[..., None], args: tuple[Any, ...]) -> None:
        raise NotImplementedError

    # -- assignment ------------------------------------------------------------------------------------------------

    def assigned(self, topic: str, partition: int, member: Member) -> None:
        if member is not self.member:
            return
        host = self.hosts.get(partition)
        if host is None:
            host = self.hosts[partition] = self.host(partition)
        host.have.add(topic)
        if host.phase is not Phase.WAITING and not self.world.rules.drops_slot_with_partition:
            return
        self.world.wake(self)

    def revoked(self, topic: str, partition: int, member: Member) -> None:
        if member is not self.member:
            return
        host = self.hosts.get(partition)
        if host is None:
            self.group.release(topic, partition, member)
        elif host.is_committing and self.world.rules.drains_on_revoke:
            self.world.count("a revoke waits for a commit in flight")
            host.releases.append(topic)
            host.is_stopping = True
        else:
            self._give_back(host, topic)

    def _give_back(self, host: Host, topic: str) -> None:
        self.world.note(self, "gives back {}[{}]", topic, host.partition)
        if not self.world.rules.drops_slot_with_partition and len(host.have) > 1:
            host.have.discard(topic)
            host.is_stopping = False
            self.group.release(topic, host.partition, self.member)
            return
        host.drop()
        fresh = self.host(host.partition)
        fresh.have = host.have - {topic} - set(host.releases)
        for given in {topic, *host.releases}:
            self.group.release(given, host.partition, self.member)
        if fresh.have:
            self.world.count("a member loses one partition of a slot and keeps another")
            self.hosts[host.partition] = fresh
        else:
            self.hosts.pop(host.partition, None)

    def drained(self, host: Host) -> None:
        if host.releases and not host.is_dead:
            self._give_back(host, host.releases.pop())

    def restart(self, host: Host) -> None:
        """Take the slot over again, from what is committed."""
        if host.is_dead:
            return
        host.drop()
        if self.hosts.get(host.partition) is host:
            fresh = self.hosts[host.partition] = self.host(host.partition)
            fresh.have = host.have
            self.world.wake(self)

    def host(self, partition: int) -> Host:
        raise NotImplementedError

    # -- control ---------------------------------------------------------------------------------------------------

    def _start_following(self) -> None:
        for partition, log in self.world.broker.of(CONTROL):
            entries = [r for _, r in log.committed() if r.value is not None]
            since = decode_control(entries[-1].value).since if entries else 0
            end = log.stable_end
            self.control_at[partition] = since
            while self.control_at[partition] < end:
                self._follow_one(partition)

    def _follow(self) -> bool:
        for partition, log in self.world.broker.of(CONTROL):
            if self.control_at.get(partition, 0) < len(log.records) and self._follow_one(partition):
                return True
        return False

    def _follow_one(self, partition: int) -> bool:
        at = self.control_at.get(partition, 0)
        record = self.world.broker.log(CONTROL, partition).records[at]
        if record.txn is not None and record.txn.is_open:
            return False
        self.control_at[partition] = at + 1
        if record.txn is None or record.txn.is_committed:
            entry = decode_control(record.value)
            self.control.of(partition).on(at, entry)
            if self.world.rules.control_is_followed:
                for host in self.hosts.values():
                    host.closed(Serial(partition, entry.offset))
        return True

    def is_closed(self, serial: Serial) -> bool:
        return self.world.rules.control_is_followed and self.control.is_closed(serial)


CONTROL: Final = "p.control"

COMMIT_STEPS: Final = 60
"""Longest wait before a commit: often enough that marks exist, seldom enough that runs end without one."""


class Phase:
    WAITING, FETCHING, FENCING, RESTORING, REPLAYING, ACTIVE = range(6)


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
        self.phase = Phase.FETCHING
        return True

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
