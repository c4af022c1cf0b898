"""The current version of a model in a process that serves it: followed on `learning.models`, loaded beside the traffic,
and put in place between two calls.

    verifier = Resource(following("verifier", load, store, start))      # `uses=[verifier]` of a stage
    ... verifier.value.of(claim.text) ...                               # in its function: what `load` made

Nothing waits for a load and nothing is dropped: a run keeps what it took, the next takes what is there then. What
cannot be had (its bytes are gone, or not those that the record names) is told in the log and in the metrics, and the
one before serves on. Where only the store cannot be reached, it is asked again until it can.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Generic, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from learning.artefacts import Store
from learning.errors import StoreError
from learning.records import MODELS, Canary, ModelVersion, canary_key
from learning.watermarks import watermarks
from streams import metrics
from streams.access import Access, read
from streams.core.partition import partition_of
from streams.errors import BrokerError, DescantError, LostContactError
from streams.runtime.consumer import is_at_end
from streams.runtime.contact import WATCHED, give_up
from streams.runtime.offsets import OffsetLookup
from streams.runtime.threads import in_own_thread
from streams.settings import KafkaSettings

FOLLOWING_GROUP: Final = "learning.following"
CALL_SECONDS: Final = 10.0
READY_SECONDS: Final = 300.0
"""For the topic to be read and the current version to be loaded, libraries included, on a machine that is busy starting
everything else."""
LOOK_SECONDS: Final = 2.0
"""Until there are learning topics, or the broker is back."""
POLL_SECONDS: Final = 0.2
STORE_SECONDS: Final = 5.0
"""Until a store that could not be reached is asked again."""

T = TypeVar("T")
Load = Callable[[ModelVersion, bytes], T]
"""A version and its artefact, whose hash was checked -> what serves. It may raise; the version before goes on."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Serving(Generic[T]):
    """What one process serves with, from one moment to the next."""

    current: T
    version: int | None
    """None: what the process started with; no version was ever promoted."""
    canary: T | None = None
    canary_version: int | None = None
    share: float = 0.0

    def of(self, key: str) -> T:
        """The canary for its share of the keys, the current version for the others: the same key always gets the same,
        so that a run that is repeated is judged alike."""
        if self.canary is not None and _place(key) < self.share:
            return self.canary
        return self.current


class Following(Generic[T]):
    """Made by `following`. `of` and `serving` may be called from any thread."""

    def __init__(self, model: str, load: Load[T], store: Store, start: T, kafka: KafkaSettings) -> None:
        self._model: Final = model
        self._load: Final = load
        self._store: Final = store
        self._serving: Serving[T] = Serving(start, None)
        self._kafka: Final = kafka
        self._ends: dict[int, int] = {}
        """Of each partition that is read, where it ended when it was assigned."""
        self._stopped: Final = threading.Event()
        self._is_ready: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name=f"following-{model}", daemon=True)
        metrics.MODEL_VERSION.labels(model, "current").set(0)

    @property
    def serving(self) -> Serving[T]:
        """One look for a whole run: what is in place may change between two."""
        return self._serving

    def of(self, key: str) -> T:
        return self._serving.of(key)

    def start(self) -> None:
        """Return when what was promoted before is in place, or there is nothing to follow yet."""
        self._thread.start()
        if not self._is_ready.wait(READY_SECONDS):
            raise BrokerError(f"topic {MODELS!r} could not be read within {READY_SECONDS:.0f} s.")

    def close(self) -> None:
        self._stopped.set()
        self._thread.join(CALL_SECONDS)

    def _new_consumer(self) -> Consumer:
        return Consumer(
            {
                **self._kafka.client(),
                **WATCHED,
                "group.id": FOLLOWING_GROUP,  # never joined, never committed
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
            }
        )

    def _run(self) -> None:
        consumer = self._new_consumer()
        try:
            while not self._stopped.is_set():
                try:
                    if self._assigned(consumer):
                        self._follow(consumer)
                except LostContactError as error:
                    log.warning("following goes on with a new client", reason=str(error))
                    give_up(consumer)
                    consumer = self._new_consumer()
                except (KafkaException, BrokerError) as error:
                    log.warning("models cannot be followed; the version in place goes on", reason=str(error))
                self._stopped.wait(LOOK_SECONDS)
        finally:
            consumer.close()

    def _assigned(self, consumer: Consumer) -> bool:
        known = consumer.list_topics(timeout=CALL_SECONDS).topics.get(MODELS)
        if known is None or not known.partitions:
            self._is_ready.set()
            return False
        keys = (self._model, canary_key(self._model))
        numbers = sorted({partition_of(key.encode(), len(known.partitions)) for key in keys})
        lookup = OffsetLookup(self._kafka, seconds_max=CALL_SECONDS, stable=True)
        self._ends = {number: high for (_, number), (_, high) in
                      watermarks(lookup, [(MODELS, number) for number in numbers]).items()}  # fmt: skip
        consumer.assign([TopicPartition(MODELS, number, 0) for number in numbers])
        return True

    def _follow(self, consumer: Consumer) -> None:
        """While records are older than the end that was there at the start, only the newest of each key is loaded."""
        newest: dict[str, str | bytes | None] = {}
        behind = {number for number, end in self._ends.items() if end}
        ask_at = 0.0
        while not self._stopped.is_set():
            message = consumer.poll(POLL_SECONDS)
            if message is not None:
                if is_at_end(message, self._ends):
                    behind.discard(message.partition() or 0)
                if (error := message.error()) is None:
                    newest[_text(message.key())] = message.value()
                elif error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                    raise BrokerError(f"topic {MODELS!r} cannot be read: {error.str()}.")
            if behind or time.monotonic() < ask_at:
                continue
            newest = {key: value for key, value in newest.items() if not self._take(key, value)}
            ask_at = time.monotonic() + STORE_SECONDS if newest else 0.0
            self._is_ready.set()

    def _take(self, key: str, value: str | bytes | None) -> bool:
        """Whether that was the last word; else it is asked for again."""
        if value is None or key not in (self._model, canary_key(self._model)):
            return True
        role = "current" if key == self._model else "canary"
        try:
            if role == "current":
                version = ModelVersion.read(value)
                self._put(current=self._loaded(version), version=version.version)
            else:
                canary = Canary.read(value).version
                loaded = None if canary is None else self._loaded(canary)
                number, share = (None, 0.0) if canary is None else (canary.version, canary.share or 0.0)
                self._put(canary=loaded, canary_version=number, share=share)
        except StoreError as error:
            self._refused(role, error.code, str(error))
            return False
        except DescantError as error:
            self._refused(role, error.code, str(error))
        except Exception as error:  # noqa: BLE001 the user's `load` may raise anything, and the traffic goes on
            self._refused(role, "learning.artefact.load", type(error).__name__)
        return True

    def _loaded(self, version: ModelVersion) -> T:
        return self._load(version, self._store.get(version.artefact))

    def _put(self, **changed: object) -> None:
        self._serving = replace(self._serving, **changed)  # type: ignore[arg-type] # the callers name the fields
        now = self._serving
        metrics.MODEL_VERSION.labels(self._model, "current").set(now.version or 0)
        metrics.MODEL_VERSION.labels(self._model, "canary").set(now.canary_version or 0)
        log.info("serves", model=self._model, version=now.version, canary=now.canary_version, share=now.share)

    def _refused(self, role: str, code: str, reason: str) -> None:
        metrics.MODEL_REFUSED.labels(self._model, code).inc()
        log.error("a version cannot be loaded; the one before goes on", model=self._model, role=role, code=code,
                  reason=reason)  # fmt: skip


@dataclass(frozen=True)
class Opening(Generic[T]):
    """What `following` returns."""

    model: str
    load: Load[T]
    store: Callable[[], Store]
    start: Callable[[], T]
    access: ClassVar = frozenset(read(MODELS) | {Access("group", FOLLOWING_GROUP, "Describe")})

    @asynccontextmanager
    async def __call__(self, kafka: KafkaSettings) -> AsyncIterator[Following[T]]:
        made = await in_own_thread(
            lambda: Following(self.model, self.load, self.store(), self.start(), kafka), seconds=READY_SECONDS
        )
        await in_own_thread(made.start, seconds=READY_SECONDS)
        try:
            yield made
        finally:
            await in_own_thread(made.close, seconds=CALL_SECONDS)


def following(model: str, load: Load[T], store: Callable[[], Store], start: Callable[[], T]) -> Opening[T]:
    """For `streams.Resource`: a model that is kept current for as long as a process runs.

    store  where the job's artefacts lie; called when the process starts
    start  what serves until a version is promoted
    """
    return Opening(model, load, store, start)


def _place(key: str) -> float:
    """Of a key among all keys, in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest()) / 2**48


def _text(key: str | bytes | None) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else key or ""
