"""The Faust side: an agent over the observation log and a table with its checkpoints.

A checkpoint says from where a successor must read and what was final; the agent acknowledges what lies below, and Faust
commits it. In this order: flags acknowledged by the broker, checkpoint acknowledged, offsets. So a kill between any two
of them only makes the successor fold a little more again, and `FlagLog` keeps what it then finds twice off the topic
(docs/decisions/assertion-recovery.md).
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import faust
import structlog
from confluent_kafka import Consumer, TopicPartition

from assertions.core.definition import Assertion
from assertions.core.flaglog import FlagLog
from assertions.core.fold import Checkpoint, Fold
from assertions.core.log import decode_batch
from assertions.judging import Judge
from assertions.processor.measured import Measured
from assertions.processor.publisher import Publisher
from assertions.processor.ranges import read_range
from assertions.processor.topics import app_id, log_topic
from streams.core.plan import Plan
from streams.settings import KafkaSettings

T = TypeVar("T")

CHECKPOINT_SECONDS: Final = 1.0
# Records of a partition that may wait to be judged: at most 700 kB each, and usually a thousandth of that.
WAITING_MAX: Final = 256
HEALTH_SECONDS: Final = 2.0
# A killed processor's partitions are judged by another after this long. Kafka's least for a classic group is 6, and a
# machine with 25 busy processes a core kept a healthy processor silent for longer than that.
SESSION_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


class _Partition:
    def __init__(self, fold: Fold, judge: Judge, low: int, end: int) -> None:
        self.fold = fold
        self.judge = judge
        self.low = low
        self.next = low
        """The offset that is handed over next."""
        self.end = end
        """Of the log when it was taken over: below it is replay."""
        self.is_replaying = True
        self.waiting: deque[tuple[int, bytes, Any]] = deque()
        """(offset, value, event) that came while others were judged; all of them are judged together next. What Faust
        skipped has no event."""
        self.came: Final = asyncio.Event()
        self.has_room: Final = asyncio.Event()
        self.has_room.set()
        self.folding: Final = asyncio.Lock()
        """Held while records are folded, and while a checkpoint is made of what is folded."""
        self.task: asyncio.Task[None] | None = None
        self.unacked: deque[tuple[int, Any]] = deque()
        self.checkpointed_at = time.monotonic()


class Processor:
    """The judging of one process. `app` is an ordinary Faust app; `Runner` starts and stops it."""

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        assertions: Iterable[Assertion],
        partitions: int,
        plans: Mapping[str, Plan],
    ) -> None:
        self._kafka: Final = kafka
        self._group: Final = group
        self._assertions: Final = list(assertions)
        self._publisher: Final = Publisher(kafka, group, plans)
        self._flags: Final = FlagLog()
        self._partitions: Final[dict[int, _Partition]] = {}
        # One thread folds: users' functions may block, and the agent's loop must answer the group meanwhile.
        self._thread: Final = ThreadPoolExecutor(1, "fold")
        self.is_judging: Final = asyncio.Event()
        """Set once all partitions that are this process's have been judged up to where their log ended."""
        self._instance: Final = uuid.uuid4().hex[:8]
        self._health_at = 0.0
        self._revocations = 0
        self._measured: Final = Measured()
        # Faust makes its folder even where it keeps nothing on disk, and by default in the working directory.
        self._folder: Final = tempfile.TemporaryDirectory(prefix="descant-assertions-", ignore_cleanup_errors=True)
        self.app: Final = faust.App(
            app_id(group),
            datadir=self._folder.name,
            broker=[f"kafka://{server}" for server in kafka.bootstrap.split(",")],
            store="memory://",
            topic_partitions=partitions,
            topic_replication_factor=1,
            topic_disable_leader=True,
            web_enabled=False,
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=SESSION_SECONDS,
            broker_heartbeat_interval=SESSION_SECONDS / 3,
            broker_commit_interval=0.5,
            stream_wait_empty=False,
            **_security(kafka),
        )
        topic = self.app.topic(
            log_topic(group), partitions=partitions, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        self._checkpoints = self.app.Table("checkpoints", partitions=partitions, help="where a successor starts")
        self.app.agent(topic, name="judge")(self._judge)
        self.app.on_partitions_revoked.connect(self._revoked)  # type: ignore[arg-type]  # called with (app, revoked)
        self.app.on_rebalance_complete.connect(self._rebalanced)

    async def _judge(self, stream: Any) -> None:
        """The agent only hands over. One record at a time costs a look at every assertion and two changes of thread for
        each; together they kept up with 50 items a second and not with 500."""
        async for event in stream.noack().events():
            message = event.message
            partition = self._partitions.get(message.partition)
            if partition is None:
                partition = await self._crashing(self._take_over(message.partition))
                if partition is None:
                    continue  # read while it was ours
                partition.task = asyncio.create_task(self._crashing(self._work(partition, message.partition)))
            if message.offset > partition.next:
                await self._crashing(self._fill(partition, message.partition, message.offset))
            if message.offset == partition.next:
                await _hand_over(partition, message.offset, event.value, event)
            elif message.offset < partition.low:
                await stream.ack(event)
            # else it came again, because Faust went back to its last commit
            # The values are the weight of an event; for the acknowledgement its place is enough.
            event.value = message.value = None
            # Here, because Faust wants a table written from within its stream; the intake's ticks bring records twice
            # a second where nothing else does.
            if time.monotonic() - partition.checkpointed_at >= CHECKPOINT_SECONDS:
                async with partition.folding:
                    await self._crashing(self._checkpoint(stream, partition, message.partition))

    async def _fill(self, partition: _Partition, number: int, end: int) -> None:
        """Read what Faust skipped. It throws away what it has fetched while a rebalance is under way, and goes back to
        the committed offset; without one, or at 0, it stays where it is (0.15.3, `Consumer.getmany`)."""
        skipped = end - partition.next
        log.info("reading what was skipped", partition=number, records=skipped)
        records = read_range(self._kafka, log_topic(self._group), number, partition.next, end)
        while batch := await asyncio.to_thread(next, records, None):
            for offset, value in batch:
                if self._partitions.get(number) is not partition:
                    await asyncio.to_thread(records.close)
                    return  # its next owner reads them
                skipped -= 1
                await _hand_over(partition, offset, value, None)
        partition.next = end
        if skipped:
            log.error("records of the log are gone; raise its retention", partition=number, records=skipped)

    async def _crashing(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except Exception as error:
            # Faust would start the agent again behind this record, and its flags would be lost.
            await self.app.crash(error)
            raise

    async def _work(self, partition: _Partition, number: int) -> None:
        while True:
            await partition.came.wait()
            async with partition.folding:
                partition.came.clear()
                taken = list(partition.waiting)
                partition.waiting.clear()
                partition.has_room.set()
                records = [(offset, value) for offset, value, _ in taken]
                await self._on_thread(self._fold, partition, number, records)
                partition.unacked.extend((offset, event) for offset, _, event in taken if event is not None)
            self._look_whether_judging()

    def _rebalanced(self, *_: Any, **__: Any) -> None:
        self._look_whether_judging()  # where there is nothing to judge, no record will come

    def _look_whether_judging(self) -> None:
        if self.is_judging.is_set():
            return  # it is asked for at the start alone
        mine = log_topic(self._group)
        assigned = [tp.partition for tp in self.app.consumer.assignment() if tp.topic == mine]
        known = [self._partitions.get(number) for number in assigned]
        if all(partition is not None and not partition.is_replaying for partition in known):
            self.is_judging.set()

    async def _on_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def _take_over(self, number: int) -> _Partition | None:
        """None when it was taken away meanwhile."""
        stored, revocations = self._checkpoints.get(str(number)), self._revocations
        start = Checkpoint.from_json(stored) if stored else None
        partition: _Partition = await self._on_thread(self._open, number, start)
        if self._revocations != revocations:
            await self._on_thread(self._drop, number, partition)
            return None
        self._partitions[number] = partition
        return partition

    def _open(self, number: int, start: Checkpoint | None) -> _Partition:
        judge = Judge()
        since = start.since if start is not None else 0.0
        for fold, flag in self._publisher.written_since(min(since, time.time())):
            if fold == number:
                self._flags.restore(fold, flag)
        self._flags.replay(number)
        low = start.low if start is not None else 0
        log.info("judging", partition=number, low=low)
        return _Partition(Fold(self._assertions, judge, start), judge, low, self._log_end(number))

    def _log_end(self, number: int) -> int:
        consumer = Consumer({**self._kafka.client(), "group.id": f"assertions.{self._group}.restore"})
        try:
            at = TopicPartition(log_topic(self._group), number)
            return int(consumer.get_watermark_offsets(at, timeout=10, cached=False)[1])
        finally:
            consumer.close()

    def _fold(self, partition: _Partition, number: int, records: Sequence[tuple[int, bytes]]) -> None:
        batches = [(offset, decode_batch(value)) for offset, value in records]
        flags = self._publisher.enforce(partition.fold.take_all(batches, time.time()))
        self._publisher.write(number, self._flags.admit(number, flags))
        if partition.is_replaying and records[-1][0] + 1 >= partition.end:
            partition.is_replaying = False
            self._publisher.write(number, self._flags.caught_up(number))
        now = time.monotonic()
        if now - self._health_at >= HEALTH_SECONDS:
            self._health_at = now
            self._publisher.health(self._instance, self._states())

    async def _checkpoint(self, stream: Any, partition: _Partition, number: int) -> None:
        partition.checkpointed_at = time.monotonic()
        if partition.is_replaying:
            return  # flags of a replay are held back until it has caught up
        await self._on_thread(self._publisher.flush)
        made = partition.fold.checkpoint()
        self._checkpoints[str(number)] = made.to_json()
        await self.app.producer.flush()
        while partition.unacked and partition.unacked[0][0] < made.low:
            await stream.ack(partition.unacked.popleft()[1])

    def _revoked(self, _app: Any, *revoked_sets: Any, **_: Any) -> None:
        # Faust's group is of the classic protocol: a rebalance takes everything and starts again at the commits.
        self._revocations += 1
        mine = log_topic(self._group)
        for number in [tp.partition for revoked in revoked_sets for tp in revoked if tp.topic == mine]:
            dropped = self._partitions.pop(number, None)
            if dropped is not None:
                if dropped.task is not None:
                    dropped.task.cancel()
                dropped.has_room.set()
                # Behind what is folded just now: forgotten under its hands, the end of a replay would find nothing
                # raised again and withdraw every provisional flag of the partition.
                self._thread.submit(self._drop, number, dropped)

    def _drop(self, number: int, dropped: _Partition) -> None:
        dropped.judge.close()
        self._flags.forget(number)
        self._measured.forget(dropped)

    def _states(self) -> dict[str, dict[str, Any]]:
        """Health over this process's partitions: counts add up, the worst state is shown."""
        order = ("broken", "failing", "silent", "healthy", "untried")
        together: dict[str, dict[str, Any]] = {}
        for partition in list(self._partitions.values()):
            for name, evaluator in partition.fold.engine.evaluators.items():
                evaluator.health.is_suspended = partition.judge.is_suspended(evaluator.assertion)
                state = evaluator.health.to_json()
                self._measured.count(partition, name, state)
                there = together.setdefault(name, state)
                if there is state:
                    continue
                for count in ("evaluated", "abstained", "fired", "late", "evicted"):
                    there[count] += state[count]
                for fault, n in state["errors"].items():
                    there["errors"][fault] = there["errors"].get(fault, 0) + n
                there["state"] = min(there["state"], state["state"], key=order.index)
                there["last_error"] = there["last_error"] or state["last_error"]
                for quantile in ("seconds_p50", "seconds_p99", "severity_p50", "severity_p90", "severity_p99"):
                    there[quantile] = max(
                        (v for v in (there[quantile], state[quantile]) if v is not None), default=None
                    )
        for name, state in together.items():
            self._measured.show(name, state)
        return together

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        for partition in self._partitions.values():
            partition.judge.close()
        self._publisher.flush()
        self._folder.cleanup()


async def _hand_over(partition: _Partition, offset: int, value: bytes, event: Any) -> None:
    partition.waiting.append((offset, value, event))
    partition.next = offset + 1
    partition.came.set()
    if len(partition.waiting) >= WAITING_MAX:
        partition.has_room.clear()
    await partition.has_room.wait()


def _security(kafka: KafkaSettings) -> dict[str, Any]:
    """TLS and SASL as Faust spells them."""
    context = ssl.create_default_context(cafile=kafka.ssl_ca_location) if "SSL" in kafka.security_protocol else None
    if context is not None and kafka.ssl_certificate_location is not None:
        password = None if kafka.ssl_key_password is None else kafka.ssl_key_password.get_secret_value()
        context.load_cert_chain(kafka.ssl_certificate_location, kafka.ssl_key_location, password)
    if kafka.sasl_username is not None and kafka.sasl_password is not None:
        return {
            "broker_credentials": faust.SASLCredentials(
                username=kafka.sasl_username,
                password=kafka.sasl_password.get_secret_value(),
                mechanism=kafka.sasl_mechanism or "PLAIN",
                ssl_context=context,
            )
        }
    return {"broker_credentials": faust.SSLCredentials(context)} if context is not None else {}
