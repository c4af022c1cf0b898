"""A virtual Kafka: logs, transactions, committed offsets, groups that fence members (not partitions), slow links."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from streams.core.record import Envelope

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World


SECOND_THOUGHTS: Final = 0.05
"""How often a partition is to move on as soon as it is given: members come and go while an assignment is on its way."""


class Txn:
    __slots__ = ("is_committed", "is_open", "offsets")

    def __init__(self) -> None:
        self.is_open = True
        self.is_committed = False
        self.offsets: dict[tuple[str, str, int], tuple[int, str]] = {}


@dataclass(slots=True, eq=False)
class Record:
    envelope: Envelope | None
    value: bytes | None
    step: int
    txn: Txn | None = None
    key: bytes | None = None
    headers: dict[str, bytes] = field(default_factory=dict)


class Log:
    __slots__ = ("records", "start")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.start = 0
        """Retention has deleted what is below."""

    @property
    def end(self) -> int:
        return len(self.records)

    @property
    def stable_end(self) -> int:
        """Readers of committed records stop here."""
        for offset, record in enumerate(self.records):
            if record.txn is not None and record.txn.is_open:
                return offset
        return len(self.records)

    def committed(self) -> Iterator[tuple[int, Record]]:
        for offset, record in enumerate(self.records):
            if record.txn is None or record.txn.is_committed:
                yield offset, record


class Broker:
    def __init__(self, world: World) -> None:
        self.world: Final = world
        self.logs: dict[tuple[str, int], Log] = {}
        self.offsets: dict[tuple[str, str, int], tuple[int, str]] = {}
        self.open_txns: list[Txn] = []
        self.readers: dict[str, list[Process]] = {}
        self.grown: dict[str, int] = {}
        """Topic -> partition count, of those to which partitions were added."""
        self._by_topic: dict[str, list[tuple[int, Log]]] = {}

    def log(self, topic: str, partition: int) -> Log:
        found = self.logs.get((topic, partition))
        if found is None:
            found = self.logs[topic, partition] = Log()
            self.of(topic).append((partition, found))
        return found

    def of(self, topic: str) -> list[tuple[int, Log]]:
        """The partitions of a topic that are there, oldest first."""
        return self._by_topic.setdefault(topic, [])

    def append(self, topic: str, partition: int, record: Record) -> int:
        record.step = self.world.step
        log = self.log(topic, partition)
        log.records.append(record)
        self.wake_readers(topic)
        return log.end - 1

    def wake_readers(self, topic: str) -> None:
        for process in self.readers.get(topic, ()):
            self.world.wake(process)

    # -- offsets ---------------------------------------------------------------------------------------------------

    def commit(self, member: Member, partition: int, offsets: dict[str, int], home: str, metadata: str) -> bool:
        """The group coordinator checks that the *member* is in the group, and not what it owns."""
        if not member.is_in:
            return False
        for topic, offset in offsets.items():
            self.offsets[member.group.name, topic, partition] = (offset, metadata if topic == home else "")
        return True

    def has_pending_offsets(self, group: str, topic: str, partition: int) -> bool:
        return any((group, topic, partition) in txn.offsets for txn in self.open_txns)

    # -- transactions ----------------------------------------------------------------------------------------------

    def begin(self) -> Txn:
        txn = Txn()
        self.open_txns.append(txn)
        return txn

    def send_offsets(
        self, txn: Txn, member: Member, partition: int, offsets: dict[str, int], home: str, metadata: str
    ) -> bool:
        if not member.is_in or not txn.is_open:
            return False
        for topic, offset in offsets.items():
            txn.offsets[member.group.name, topic, partition] = (offset, metadata if topic == home else "")
        return True

    def end(self, txn: Txn, *, commit: bool) -> bool:
        """Returns whether the transaction is committed."""
        if txn.is_open:
            txn.is_open, txn.is_committed = False, commit
            self.open_txns.remove(txn)
            if commit:
                self.offsets.update(txn.offsets)
            self.world.wake_all()
        return txn.is_committed


@dataclass(slots=True, eq=False)
class Member:
    """One membership of a process in its group, until it is kicked out or dies."""

    process: Process
    group: Group
    is_in: bool = True


class Group:
    """Hands partition i of all topics to one member in the end, topic by topic on the way."""

    def __init__(self, world: World, name: str, topics: tuple[str, ...], partitions: int) -> None:
        self.world: Final = world
        self.name: Final = name
        self.topics: Final = topics
        self.partitions = partitions
        self.members: list[Member] = []
        self.target: list[Member | None] = [None] * partitions
        self.owner: dict[tuple[str, int], Member | None] = {(t, i): None for i in range(partitions) for t in topics}
        self.asked: set[tuple[str, int]] = set()
        """To be given back by their owners."""
        self.unheard: set[tuple[str, int]] = set()
        """Given, and their owners have not said since then what they own."""
        self.gates: dict[str, int] = {}
        """Directed histories: topic -> offset below which its members read for the time being."""
        self.reads_all = False
        """Directed histories: its members take all that there is at once."""

    def __repr__(self) -> str:
        return f"group {self.name}"

    def join(self, process: Process) -> Member:
        member = Member(process, self)
        self.members.append(member)
        self._retarget()
        return member

    def kick(self, member: Member) -> None:
        if not member.is_in:
            return
        member.is_in = False
        self.members.remove(member)
        for at, owner in self.owner.items():
            if owner is member:
                self._free(at)
        self._retarget()

    def grow(self) -> None:
        """Its topics have one more partition."""
        self.owner.update({(topic, self.partitions): None for topic in self.topics})
        self.target.append(None)
        self.partitions += 1
        self._retarget()

    def _retarget(self) -> None:
        for i, target in enumerate(self.target):
            if target is None or not target.is_in:
                self.target[i] = self.members[i % len(self.members)] if self.members else None
        self.world.wake(self)

    def move(self, partition: int) -> None:
        """A rebalance gives the partition to the next member."""
        target = self.target[partition]
        if target is not None and target.is_in and len(self.members) > 1:
            at = self.members.index(target)
            self.target[partition] = self.members[(at + 1) % len(self.members)]
            self.world.wake(self)

    def release(self, topic: str, partition: int, member: Member) -> None:
        at = (topic, partition)
        if self.owner[at] is member and at in self.asked:
            self._free(at)
            self.world.wake(self)

    def _free(self, at: tuple[str, int]) -> None:
        self.owner[at] = None
        self.asked.discard(at)
        self.unheard.discard(at)

    def owns(self, topics: Iterable[str], partition: int, member: Member) -> bool:
        """Asked by the member itself, which has heard of its assignment then: what it owns is its own until it is
        given back."""
        places = [(topic, partition) for topic in topics]
        owned = [at for at in places if self.owner[at] is member]
        self.unheard.difference_update(owned)
        return owned == places

    def run(self, rng: Random) -> bool:
        wrong = [
            at
            for at, owner in self.owner.items()
            if owner is not self.target[at[1]] and at not in self.asked and (owner or self.target[at[1]])
        ]
        if not wrong:
            return False
        at = wrong[rng.randrange(len(wrong))]
        owner, target = self.owner[at], self.target[at[1]]
        if owner is not None:
            if at in self.unheard and rng.random() < 0.5:
                # The owner has said something of itself meanwhile, in which this is missing: it counts as given back.
                self.world.count("an assignment is taken back on its way")
                self.world.note(self, "takes {}[{}] back from {}, which has not heard of it", *at, owner.process)
                self._free(at)
            else:
                self.asked.add(at)
            owner.process.deliver(owner.process.revoked, *at, owner)
        elif target is not None:
            self.owner[at] = target
            self.unheard.add(at)
            target.process.deliver(target.process.assigned, *at, target)
            if rng.random() < SECOND_THOUGHTS:
                self.move(at[1])
        return True


class Wire:
    """What one incarnation of a process has in flight: records in FIFO order for each partition, and requests."""

    def __init__(self, world: World, process: Process) -> None:
        self.world: Final = world
        self.process: Process | None = process
        self.name: Final = f"{process.name}~"
        self.links: dict[tuple[str, int], deque[tuple[Record, Callable[..., None] | None, tuple[Any, ...]]]] = {}
        self.requests: list[tuple[Callable[[], Any], Callable[..., None]]] = []
        self.held_until = 0

    def __repr__(self) -> str:
        return self.name

    def send(self, topic: str, partition: int, record: Record, acked: Callable[..., None] | None, *args: Any) -> None:
        self.links.setdefault((topic, partition), deque()).append((record, acked, args))
        self.world.wake(self)

    def request(self, land: Callable[[], Any], reply: Callable[..., None]) -> None:
        self.requests.append((land, reply))
        self.world.wake(self)

    def hold(self, steps: int) -> None:
        self.held_until = max(self.held_until, self.world.step + steps)
        self.world.at(self.held_until, self)

    def orphan(self, keep: int, rng: Random) -> None:
        """The process died: everything in flight lands later (0), nothing does (1), or some of it (2)."""
        self.process = None
        if keep == 1:
            self.links.clear()
            self.requests.clear()
        elif keep == 2:
            for link in self.links.values():
                for _ in range(rng.randrange(len(link) + 1)):
                    link.pop()
            self.requests = [r for r in self.requests if rng.random() < 0.5]

    def refuse(self, rng: Random) -> bool:
        """One record is not delivered, and never will be; those behind it are."""
        for link in self.links.values():
            for at, (_, acked, args) in enumerate(link):
                if acked is not None and self.process is not None and self.process.may_be_refused(acked):
                    self.world.count("a record is refused")
                    del link[at]
                    self.process.deliver(self.process.refused, acked, args)
                    return True
        return False

    def run(self, rng: Random) -> bool:
        if self.world.step < self.held_until:
            return False
        links = [at for at, link in self.links.items() if link]
        choices = len(links) + len(self.requests)
        if not choices:
            return False
        chosen = rng.randrange(choices)
        if chosen < len(links):
            topic, partition = at = links[chosen]
            record, acked, args = self.links[at].popleft()
            offset = self.world.broker.append(topic, partition, record)
            if self.process is None:
                self.world.count("a record of a dead process lands")
            elif not self.process.member.is_in:
                self.world.count("a record of a zombie lands")
            self.world.note(self, "lands {}[{}]@{} {}", topic, partition, offset, record)
            if self.process is not None and acked is not None:
                self.process.deliver(acked, offset, *args)
        else:
            land, reply = self.requests.pop(chosen - len(links))
            result = land()
            if self.process is not None:
                self.process.deliver(reply, result)
        if self.world.lag:
            self.hold(rng.randrange(self.world.lag))
        return True
