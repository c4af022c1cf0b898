"""A virtual process: one member of one group, with an inbox, a wire, a run counter and a follower of `control`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from streams.core.control import Control, decode_control
from streams.core.lineage import Serial
from tests.simulation.broker import Group, Member, Wire
from tests.simulation.host import Host, Phase
from tests.simulation.world import World

CONTROL: Final = "p.control"

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
        # The client acknowledges by itself, whatever comes of it.
        self.wire.request(lambda: self.group.owns((topic,), partition, member), lambda _: None)
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
