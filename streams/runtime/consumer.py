"""A consumer on its own thread: batches and rebalances reach the event loop, offsets come back from it.

The thread does nothing but poll. A batch is handed over and the thread goes on to the next; at most BATCHES_AHEAD
wait for the loop, so that memory stays bounded without ever pausing a partition. The client (2.16) holds a lock while
it polls, and a call from another thread starves beside it (a `committed` took 17 s): whatever else is asked of the
consumer is asked on this thread, between two polls.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.errors import BrokerError
from streams.runtime.contact import WATCHED
from streams.runtime.denial import DENIED, denied
from streams.runtime.tasks import fail, finish
from streams.settings import KafkaSettings

T = TypeVar("T")

BATCH_RECORDS: Final = 500
BATCHES_AHEAD: Final = 4
POLL_SECONDS: Final = 0.05
"""Longest wait of a call for an idle poll; a record ends the poll at once."""

REVOKE_SECONDS: Final = 20.0
"""Shared by everything inside one revoke; the coordinator waits `session.timeout` of silence, and heartbeats go on."""

LEAVE_SECONDS: Final = 12.0
"""A process that is told to end while the broker is away ends without its last commit: its work is done again."""

CALL_SECONDS: Final = 20.0

COMMITTED_SECONDS: Final = 0.5
"""Longest wait for committed offsets at the first try, twice as long at each further one, up to the next: the thread
cannot be told of revocations meanwhile. Offsets of a transaction that is on its way are waited for."""

COMMITTED_SECONDS_MAX: Final = 5.0

RETRY_SECONDS: Final = 0.2

IDLE_FETCH_MS: Final = 250
"""A broker answers a fetch as soon as there is a record; this bounds only how long an idle one stays there. At 50 ms
twenty idle consumers cost a broker 400 requests a second."""

CONSUMER_CONFIG: Final = {
    "group.protocol": "consumer",  # KIP-848: incremental, no stop of the world
    "group.remote.assignor": "range",  # partition i of all topics on one member; `uniform` does not keep them together
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # offsets are given at assignment; a reset would skip what is not answered yet
    "isolation.level": "read_committed",  # also makes `committed` wait for a transaction that is on its way
    "fetch.wait.max.ms": IDLE_FETCH_MS,
    "fetch.message.max.bytes": 2_000_000,
    "queued.max.messages.kbytes": 32_768,  # 64 MiB per consumer by default, for each of many processes
}

READER_CONFIG: Final = {name: value for name, value in CONSUMER_CONFIG.items() if not name.startswith("group.")}
"""Of who reads partitions without joining a group."""

LOST_PLACE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)
"""What was to be read is not there any more."""

RETRIABLE: Final = (
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._WAIT_COORD,
    KafkaError._NOENT,
    KafkaError._UNKNOWN_PARTITION,  # as the five below: of a broker that has just come back, or has just been replaced
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
)
"""Errors that only ask for patience: the same call succeeds when the cluster is well again."""

NOT_MEMBER: Final = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError.REBALANCE_IN_PROGRESS,
)
"""A commit that is refused with one of these: the slots are lost, and the rebalance callback will say so."""


class Owner(Protocol):
    """Who is told of partitions and records; every method runs on the loop."""

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """New partitions, paused and positioned nowhere. They may be somebody else's already (`Claims`)."""

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Still owned until this returns: stop commits, wait for those on their way."""

    async def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Owned by somebody else already: drop them, commit nothing."""

    def records(self, batch: Sequence[Message]) -> None: ...

    def fatal(self, error: BaseException) -> None: ...


class ConsumerThread:
    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        topics: Sequence[str],
        owner: Owner,
        *,
        keeps_group_metadata: bool = False,
    ) -> None:
        """`keeps_group_metadata`: as it was before the last batch was handed over, for transactions."""
        self.group_metadata: Any = None
        self._keeps_group_metadata: Final = keeps_group_metadata
        self._consumer: Final = Consumer({**kafka.client(), **CONSUMER_CONFIG, **WATCHED, "group.id": group})
        self._kafka: Final = kafka
        self._group: Final = group
        self._topics: Final = list(topics)
        self._owner: Final = owner
        self._loop: Final = asyncio.get_running_loop()
        self._ahead: Final = threading.Semaphore(BATCHES_AHEAD)
        self._is_open = True
        self._calls: Final[queue.SimpleQueue[Callable[[], None]]] = queue.SimpleQueue()
        self._thread: Final = threading.Thread(target=self._run, name=f"consumer {group}", daemon=True)

    async def call(self, function: Callable[[Consumer], T]) -> T:
        """Run on the thread, between two polls; the thread waits meanwhile, so it must be short."""
        future: asyncio.Future[T] = self._loop.create_future()

        def run() -> None:
            try:
                result = function(self._consumer)
            except BaseException as error:  # noqa: BLE001 — for whoever asked
                self._call_soon(fail, future, error)
            else:
                self._call_soon(finish, future, result)

        self._calls.put(run)
        return await future

    async def committed(self, places: list[TopicPartition], seconds: float) -> list[TopicPartition]:
        """What the group has committed, asked of the coordinator on the connection that heartbeats take, after them.

        Raises KafkaException: also when it was not answered within `seconds`.
        """
        return await self.call(partial(_committed, places, seconds))

    async def commit(self, places: list[TopicPartition]) -> KafkaError | None:
        """None, or why not. On the thread, so that no commit is ever on its way inside a rebalance callback."""
        return await self.call(partial(_commit, places))

    async def ask_coordinator(self) -> None:
        """Return when the group's coordinator has answered somebody else than this thread's client.

        Raises KafkaException: also when it has not within COMMITTED_SECONDS_MAX.
        """
        await asyncio.to_thread(_ask_coordinator, self._kafka, self._group, self._topics[0])

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while self._is_open:
                self._poll()
                self._serve_calls()
            self._consumer.close()
        except BaseException as error:  # noqa: BLE001 — a thread's error reaches nobody by itself
            self._call_soon(self._owner.fatal, error)

    def _poll(self) -> None:
        # consume(n, t) waits the whole t unless n records are there: wait for the first, take what has come with it.
        first = self._consumer.poll(POLL_SECONDS)
        if first is None:
            return
        batch = [m for m in (first, *self._consumer.consume(BATCH_RECORDS, 0)) if self._is_record(m)]
        if not batch:
            return
        if self._keeps_group_metadata:
            self.group_metadata = self._consumer.consumer_group_metadata()
        while not self._ahead.acquire(timeout=POLL_SECONDS):
            self._serve_calls()
            if not self._is_open:
                return
        self._call_soon(self._hand_over, batch)

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.fatal() or error.code() in LOST_PLACE:
            what = f"{message.topic()}[{message.partition()}] at {message.offset()}"
            raise BrokerError(
                f"cannot read {what}: {error.str()}. Records of open requests may be gone: raise the topic's "
                "retention, or reset the group's offsets if they may be given up.",
                code="broker.offset",
            )
        if error.code() in DENIED:
            raise denied(self._kafka, [error.str()])
        return False  # librdkafka reports and goes on: a broker that is away, a topic that is not there yet

    def _hand_over(self, batch: Sequence[Message]) -> None:
        self._ahead.release()
        try:
            self._owner.records(batch)
        except Exception as error:  # noqa: BLE001 — see _run
            self._owner.fatal(error)

    def _call_soon(self, function: Callable[..., object], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if not partitions:
            return
        # Nothing is asked of a broker here: as long as this takes, the coordinator may give them to somebody else
        # (decisions/two-owners.md). Where reading starts is known when the slot is taken over. Until then they stand at
        # 0, which retention may have deleted, and are paused before a fetch can say so: a partition that was refused
        # once cannot be moved any more. Nor would "the end" do: a look-up that is overtaken by a seek is made again,
        # and moves the partition to the end after all (2.16).
        for place in partitions:
            place.offset = 0
            consumer.get_watermark_offsets(place, cached=True)  # what a client has not heard of it does not pause
        consumer.pause(partitions)
        consumer.incremental_assign(partitions)
        self._call_soon(self._owner.assigned, partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if partitions and not self._loop.is_closed():
            self._wait(self._owner.revoked(partitions))
            consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if partitions and not self._loop.is_closed():
            self._wait(self._owner.lost(partitions))
            consumer.incremental_unassign(partitions)

    def _wait(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Wait inside a callback; the coroutine's calls are served meanwhile."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        future.add_done_callback(lambda _: self._calls.put(lambda: None))
        ends_at = time.monotonic() + REVOKE_SECONDS
        while not future.done():
            self._calls.get(timeout=max(0.0, ends_at - time.monotonic()))()
        # A commit that was asked for before the slots were dropped goes out as the member that owned them, and is
        # refused. After this callback it would go out as the member that has joined anew, and be taken.
        self._serve_calls()
        future.result()

    def _serve_calls(self) -> None:
        while not self._calls.empty():
            self._calls.get()()

    async def close(self) -> None:
        """Leave the group; the owner's `revoked` runs first."""
        self._is_open = False
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, LEAVE_SECONDS)


def _commit(places: list[TopicPartition], consumer: Consumer) -> KafkaError | None:
    try:
        done = consumer.commit(offsets=places, asynchronous=False)
    except KafkaException as error:
        return cast("KafkaError", error.args[0])
    return next((place.error for place in done or () if place.error is not None), None)


def _ask_coordinator(kafka: KafkaSettings, group: str, topic: str) -> None:
    stranger = Consumer({**kafka.client(), "group.id": group})  # it never joins
    try:
        stranger.committed([TopicPartition(topic, 0)], timeout=COMMITTED_SECONDS_MAX)
    finally:
        stranger.close()


def _committed(places: list[TopicPartition], seconds: float, consumer: Consumer) -> list[TopicPartition]:
    found = consumer.committed(places, timeout=seconds)
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
    return found


def is_at_end(message: Message, ends: Mapping[int, int]) -> bool:
    """Whether its partition has been read up to its end in `ends`: by a record at the last offset before it or behind,
    or by the client's word that there is no more.

    That word alone will not do: while a record comes within each `fetch.wait.max.ms`, the client (2.16) never gives it.
    """
    error = message.error()
    if error is None:
        return (message.offset() or 0) + 1 >= ends[message.partition() or 0]
    return error.code() == KafkaError._PARTITION_EOF


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """The headers as the broker sent them; the client types what one may produce."""
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def retrying(call: Callable[[], T], *, still: Callable[[], bool] = lambda: True) -> T:
    """Call until it succeeds, as long as Kafka only asks for patience and `still` is true.

    Raises KafkaException: for anything else, at once.
    """
    while True:
        try:
            return call()
        except KafkaException as error:
            if error.args[0].code() not in RETRIABLE or not still():
                raise
            threading.Event().wait(RETRY_SECONDS)
