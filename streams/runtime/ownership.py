"""Taking slots over, committing for them, and giving them up (PROTOCOL §§6–7).

One `SlotOwner` for each consumer group of a process: stages, closers, ingress and the lanes of workers all own slots
the same way. What a slot does with its records is the business of the `SlotState` that `open_slot` makes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams import metrics
from streams.core.offsets import SlotMetadata, decode_metadata
from streams.runtime.claims import Claims
from streams.runtime.consumer import NOT_MEMBER, RETRIABLE, RETRY_SECONDS, ConsumerThread
from streams.runtime.contact import while_in_contact
from streams.runtime.offsets import OffsetLookup, Place
from streams.runtime.tasks import Tasks
from streams.settings import KafkaSettings

COMMIT_SECONDS: Final = 0.1
"""Between commits. A crash runs again what no mark covers, so that a longer pause costs work, never correctness."""

INCOMPLETE_ALARM_SECONDS: Final = 10.0
"""A slot that has only some of its partitions for this long: members subscribe differently, or use another assignor."""

WITHDRAWN_SECONDS: Final = 0.1
"""Between two looks whether a slot is ours that was not at the first."""

log = structlog.get_logger(__name__)


class SlotState(Protocol):
    """A slot that this process owns, from takeover until it is dropped."""

    def record(self, source: int, message: Message) -> None: ...

    def caught_up(self) -> None:
        """The end offsets noted at takeover are reached: runs may start."""

    def committable(self) -> tuple[dict[int, int], SlotMetadata]:
        """Source index -> offset; the metadata goes to source 0, the home."""

    def drop(self) -> None:
        """The slot is somebody else's: cancel what runs, emit nothing more."""


OpenSlot = Callable[[int, SlotMetadata, dict[int, int]], Awaitable[SlotState]]
"""(partition, committed metadata with our epoch, source -> position) -> the slot, ready for replay."""


@dataclass(slots=True)
class _Committed:
    offset: int
    metadata: str | None


@dataclass(slots=True, eq=False)
class _Owned:
    partition: int
    have: set[str] = field(default_factory=set)
    """Topics whose partition is assigned here."""
    committed: dict[str, _Committed] = field(default_factory=dict)
    """By topic: as it was at takeover, then what we committed. Whoever owned a partition of the slot until then had
    stopped committing for all of it before the coordinator said that it is ours (PROTOCOL §6.4)."""
    state: SlotState | None = None
    behind: dict[int, int] = field(default_factory=dict)
    """Source -> end offset that replay has to reach."""
    is_caught_up: bool = False
    since: float = field(default_factory=time.monotonic)
    is_leaving: bool = False
    """Inside a revoke: one last commit is allowed."""
    is_withdrawn: bool = False
    """The coordinator said at some time that it is not ours; the revocation is on the way."""


class SlotOwner:
    def __init__(
        self,
        kafka: KafkaSettings,
        lookup: OffsetLookup,
        group: str,
        topics: Sequence[str],
        open_slot: OpenSlot,
        on_fatal: Callable[[BaseException], None],
        *,
        commits_itself: bool = True,
        before_release: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """
        topics          in the order of the sources; the first is the home
        commits_itself  False for the closer, whose offsets go with its transactions
        before_release  awaited inside a revoke, when the slots' states are dropped: end a transaction
        """
        self.topics: Final = tuple(topics)
        self.group: Final = group
        self.has_joined: Final = asyncio.Event()
        """Set once a first assignment is taken over and caught up."""
        self._consumer_thread: Final = ConsumerThread(
            kafka, group, topics, self, keeps_group_metadata=not commits_itself
        )
        self._claims: Final = Claims(self._consumer_thread, lookup, group)
        self._lookup: Final = lookup
        self._open_slot: Final = open_slot
        self._on_fatal: Final = on_fatal
        self._commits_itself: Final = commits_itself
        self._before_release: Final = before_release
        self._owned: Final[dict[int, _Owned]] = {}
        self._commit_lock: Final = asyncio.Lock()
        self._tasks: Final = Tasks(on_fatal)
        self._records: Final = metrics.RECORDS.labels(group)
        self._slots: Final = metrics.SLOTS.labels(group)
        self._takeover_seconds: Final = metrics.TAKEOVER_SECONDS.labels(group)

    @property
    def consumer_thread(self) -> ConsumerThread:
        return self._consumer_thread

    @property
    def partitions(self) -> frozenset[int]:
        """Of the slots that are assigned here, taken over or not yet."""
        return frozenset(self._owned)

    @property
    def states(self) -> list[SlotState]:
        return [o.state for o in self._owned.values() if o.state is not None]

    @property
    def caught_up_states(self) -> list[SlotState]:
        return [o.state for o in self._owned.values() if o.state is not None and o.is_caught_up]

    def start(self) -> None:
        self._consumer_thread.start()
        if self._commits_itself:
            self._tasks.spawn(self._commit_for_ever())

    # -- the consumer's events -------------------------------------------------------------------------------------

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        whole = []
        for p in partitions:
            owned = self._owned.setdefault(p.partition, _Owned(p.partition))
            owned.have.add(p.topic)
            if len(owned.have) == len(self.topics):
                whole.append(owned)
            else:
                asyncio.get_running_loop().call_later(INCOMPLETE_ALARM_SECONDS, self._alarm, owned)
        if whole:
            self._tasks.spawn(self._take_over(whole))

    def _alarm(self, owned: _Owned) -> None:
        if self._current([owned]) and len(owned.have) < len(self.topics):
            log.error("slot incomplete", group=self.group, partition=owned.partition, topics=sorted(owned.have))

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        going = self._leave(partitions)
        for owned in going:
            owned.is_leaving = True
        async with self._commit_lock:  # a commit on its way ends first; nothing is committed after we return
            if self._commits_itself:
                await self._commit([o for o in going if o.state is not None])
            for owned in going:
                owned.is_leaving = False  # whoever waits for the lock must not commit for it any more
        for owned in going:
            if owned.state is not None:
                owned.state.drop()
        if self._before_release is not None:
            await self._before_release()

    async def lost(self, partitions: Sequence[TopicPartition]) -> None:
        for owned in self._leave(partitions):
            if owned.state is not None:
                owned.state.drop()
        log.warning("slots lost", group=self.group, partitions=sorted({p.partition for p in partitions}))

    def _leave(self, partitions: Sequence[TopicPartition]) -> list[_Owned]:
        """Losing any partition of a slot is losing the slot; what is left of it waits for the rest to come back."""
        going = []
        for number in sorted({p.partition for p in partitions}):
            owned = self._owned.pop(number, None)
            if owned is None:
                continue
            going.append(owned)
            rest = owned.have - {p.topic for p in partitions if p.partition == number}
            if rest:
                # Not paused: what still comes of them is dropped, and the takeover seeks to what is committed then.
                self._owned[number] = _Owned(number, rest)
        self._slots.set(len(self.states))
        return going

    def records(self, batch: Sequence[Message]) -> None:
        self._records.inc(len(batch))
        for message in batch:
            owned = self._owned.get(message.partition() or 0)
            if owned is None or owned.state is None:
                continue  # fetched before the slot was lost; its next owner reads it
            source = self.topics.index(message.topic() or "")
            owned.state.record(source, message)
            if owned.behind and (message.offset() or 0) + 1 >= owned.behind.get(source, 0):
                owned.behind.pop(source, None)
                self._check_caught_up(owned)

    def fatal(self, error: BaseException) -> None:
        self._on_fatal(error)

    # -- takeover --------------------------------------------------------------------------------------------------

    async def _take_over(self, slots: list[_Owned]) -> None:
        """Return when each of them is open, or given up."""
        while slots := self._current(slots):
            entries = await self._fence(await self._confirmed(slots))
            await self._open(entries)
            taken = [owned for owned, _, _ in entries]
            slots = [owned for owned in slots if owned not in taken]
            if slots:
                await asyncio.sleep(WITHDRAWN_SECONDS)

    async def _confirmed(self, slots: list[_Owned]) -> list[_Owned]:
        ours = await self._claims.ours(self._inputs(slots), lambda: bool(self._current(slots)))
        confirmed = [owned for owned in slots if ours.issuperset(self._inputs([owned]))]
        for owned in self._current(slots):
            if owned not in confirmed and not owned.is_withdrawn:
                owned.is_withdrawn = True
                log.info("assigned, and not ours any more", group=self.group, partition=owned.partition)
        return confirmed

    async def _fence(self, slots: list[_Owned]) -> list[tuple[_Owned, dict[int, int], SlotMetadata]]:
        """PROTOCOL §7.2–3. The slots are ours: nobody else commits for them now."""
        found = await self._claims.committed(self._inputs(slots), lambda: bool(self._current(slots)))
        # A new group begins with the first record there is.
        beginnings = await self._lookup.beginnings(place for place, at in found.items() if at.offset < 0)
        entries = []
        async with self._commit_lock:
            for owned in self._current(slots):
                for topic in self.topics:
                    place = topic, owned.partition
                    offset = beginnings.get(place, found[place].offset)
                    owned.committed[topic] = _Committed(offset, found[place].metadata)
                positions = {s: owned.committed[topic].offset for s, topic in enumerate(self.topics)}
                entries.append((owned, positions, _next_epoch(owned.committed[self.topics[0]].metadata)))
            if entries and await self._commit_entries(entries):
                return entries
        return []

    def _current(self, slots: list[_Owned]) -> list[_Owned]:
        """Those that have not been given up."""
        return [owned for owned in slots if self._owned.get(owned.partition) is owned]

    def _inputs(self, slots: list[_Owned]) -> list[Place]:
        return [(topic, owned.partition) for owned in slots for topic in self.topics]

    async def _open(self, entries: list[tuple[_Owned, dict[int, int], SlotMetadata]]) -> None:
        for owned, positions, metadata in entries:
            if not self._current([owned]):
                continue
            state = await self._open_slot(owned.partition, metadata, positions)
            # Ends are noted after the fenced commit: whatever an earlier owner produced before it is below them.
            ends = await self._lookup.ends((topic, owned.partition) for topic in self.topics)
            if self._owned.get(owned.partition) is not owned:
                state.drop()
                continue
            behind = {
                source: ends[topic, owned.partition]
                for source, topic in enumerate(self.topics)
                if ends[topic, owned.partition] > positions[source]
            }
            begin = partial(asyncio.get_running_loop().call_soon_threadsafe, partial(self._begin, owned, state, behind))
            await self._consumer_thread.call(partial(self._begin_reading, owned.partition, positions, begin))

    def _begin_reading(
        self, partition: int, positions: dict[int, int], begin: Callable[[], object], consumer: Consumer
    ) -> None:
        places = [TopicPartition(topic, partition, positions[s]) for s, topic in enumerate(self.topics)]
        for place in places:
            consumer.seek(place)
        consumer.resume(places)
        # From here it comes before the first batch of what was just resumed. The coroutine that asked is woken one turn
        # of the loop later: on a busy loop that batch would come first, find no state, and be dropped.
        begin()

    def _begin(self, owned: _Owned, state: SlotState, behind: dict[int, int]) -> None:
        if self._owned.get(owned.partition) is not owned:
            state.drop()
            return
        owned.state = state
        owned.behind = behind
        self._slots.set(len(self.states))
        self._check_caught_up(owned)

    def _check_caught_up(self, owned: _Owned) -> None:
        if not owned.behind and not owned.is_caught_up and owned.state is not None:
            owned.is_caught_up = True
            self._takeover_seconds.observe(time.monotonic() - owned.since)
            owned.state.caught_up()
            if all(o.is_caught_up for o in self._owned.values()):
                self.has_joined.set()

    # -- commits: one object, one at a time, one request for all partitions of a slot --------------------------------

    async def _commit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            async with self._commit_lock:
                await self._commit([o for o in self._owned.values() if o.state is not None])

    async def _commit(self, slots: list[_Owned]) -> None:
        entries = []
        for owned in slots:
            if owned.state is not None:
                offsets, metadata = owned.state.committable()
                if self._is_news(owned, offsets, metadata):
                    entries.append((owned, offsets, metadata))
        if entries:
            await self._commit_entries(entries)

    async def _commit_entries(self, entries: list[tuple[_Owned, dict[int, int], SlotMetadata]]) -> bool:
        places = [p for o, offsets, metadata in entries for p in self.places(o.partition, offsets, metadata)]

        while all(self._owned.get(o.partition) is o or o.is_leaving for o, _, _ in entries):
            error = await while_in_contact(self._consumer_thread.commit(places), self._consumer_thread.ask_coordinator)
            if error is None:
                break
            if error.code() in NOT_MEMBER:
                return False
            if error.code() not in RETRIABLE:
                raise KafkaException(error)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return False
        for owned, offsets, metadata in entries:
            for place in self.places(owned.partition, offsets, metadata):
                known = owned.committed[place.topic]
                known.offset, known.metadata = place.offset, place.metadata
        return True

    def _is_news(self, owned: _Owned, offsets: dict[int, int], metadata: SlotMetadata) -> bool:
        known = owned.committed
        return known[self.topics[0]].metadata != metadata.encode() or any(
            known[topic].offset != offsets[source] for source, topic in enumerate(self.topics)
        )

    def places(self, partition: int, offsets: dict[int, int], metadata: SlotMetadata) -> list[TopicPartition]:
        """What one slot commits, as the client takes it."""
        return [
            TopicPartition(topic, partition, offsets[source], metadata.encode() if source == 0 else "")
            for source, topic in enumerate(self.topics)
        ]

    def note_committed(self, places: Sequence[TopicPartition]) -> None:
        """Somebody committed these with a transaction of ours."""
        for place in places:
            owned = self._owned.get(place.partition)
            if owned is not None and place.topic in owned.committed:
                known = owned.committed[place.topic]
                known.offset, known.metadata = place.offset, place.metadata

    async def close(self) -> None:
        """Commit, leave the group, end all tasks."""
        await self._consumer_thread.close()
        await self._tasks.close()


def _next_epoch(metadata: str | None) -> SlotMetadata:
    """PROTOCOL §7.3. Unix seconds when there is none: later than any epoch that expired or was reset away."""
    known = decode_metadata(metadata)
    if known is None:
        return SlotMetadata(int(time.time()))
    return replace(known, epoch=known.epoch + 1)
