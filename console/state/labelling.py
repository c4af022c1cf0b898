"""The learning topics for the console: what waits for a label, and which versions there are."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from console.errors import GatewayError
from learning.labels import check
from learning.records import LABELS, Label, LabelRequest
from learning.view import TOPICS, Learned, View
from streams.errors import BrokerError
from streams.runtime.producer import LoopProducer
from streams.settings import KafkaSettings

LOOK_SECONDS: Final = 3.0
POLL_SECONDS: Final = 0.2
CALL_SECONDS: Final = 5.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Labelling:
    """A thread folds the learning topics; `ask` reads the fold between two records of it."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka: Final = kafka
        self._lock: Final = threading.Lock()
        self._learned = Learned()
        self._is_there = False
        self._stopped: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="labelling", daemon=True)
        self._producer: LoopProducer | None = None

    @property
    def is_there(self) -> bool:
        """Whether there are learning topics at all."""
        return self._is_there

    def start(self) -> None:
        self._thread.start()

    async def close(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 5)
        if self._producer is not None:
            await self._producer.close()

    def ask(self, question: Callable[[Learned], T]) -> T:
        with self._lock:
            return question(self._learned)

    def pending(self, model: str | None, count: int) -> tuple[list[LabelRequest], int]:
        """The oldest that nobody has labelled, and how many there are."""
        found = self.ask(lambda learned: learned.labels.pending(model))
        return found[:count], len(found)

    async def submit(self, example: str, value: str, labeller: str) -> Label:
        """Produce a label; it replaces an earlier one of the same labeller.

        Raises GatewayError for an example that nobody asked about, LabelError for a class that it does not have,
        BrokerError when Kafka refuses it.
        """
        request, earlier = self.ask(lambda learned: self._known(learned, example, labeller))
        label = Label(
            id=uuid.uuid4().hex,
            example=example,
            model=request.model,
            labeller=labeller,
            value=value,
            supersedes=earlier,
            labelled_at=datetime.now(UTC),
        )
        check(label, request)
        await self._produce(label)
        self.ask(lambda learned: learned.labels.say(label))  # so that the next list has it; the topic's is then known
        return label

    def _known(self, learned: Learned, example: str, labeller: str) -> tuple[LabelRequest, str | None]:
        request = learned.labels.requests.get(example)
        if request is None:
            raise GatewayError(
                f"nobody has asked for a label of example {example!r}. Label those of GET /v1/label-requests.",
                code="console.no_example",
                status=404,
            )
        mine = [label.id for label in learned.labels.opinion(example).labels if label.labeller == labeller]
        return request, mine[-1] if mine else None

    async def _produce(self, label: Label) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def delivered(error: object, _: object) -> None:
            if not done.done():
                done.set_result(None) if error is None else done.set_exception(
                    BrokerError(f"Kafka refused the label: {error}", code="broker.refused")
                )

        if self._producer is None:
            self._producer = LoopProducer(self._kafka, lambda error: log.error("producer", reason=str(error)))
        self._producer.send(LABELS, label.key, label.encoded(), [], delivered)
        await done

    def _run(self) -> None:
        view = self._await_topics()
        if view is None:
            return
        with self._lock:
            self._learned = view.learned
        self._is_there = True
        while not self._stopped.is_set():
            try:
                # The wait is outside of the lock; only the folding of what has come is inside.
                if not self._poll(view):
                    self._stopped.wait(POLL_SECONDS)
            except BrokerError as error:
                log.warning("learning topics", reason=str(error))
                self._stopped.wait(LOOK_SECONDS)
        view.close()

    def _poll(self, view: View) -> int:
        with self._lock:
            return view.poll(0.01)

    def _await_topics(self) -> View | None:
        """A View reads the topics that are there when it is made: so it is made when all are."""
        admin = AdminClient(self._kafka.client())
        while not self._stopped.is_set():
            try:
                if set(TOPICS) <= set(admin.list_topics(timeout=CALL_SECONDS).topics):
                    return View(self._kafka)
            except KafkaException as error:
                log.info("cannot look for the learning topics", reason=error.args[0].str())
            self._stopped.wait(LOOK_SECONDS)
        return None
