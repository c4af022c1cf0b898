"""Which lane a prompt goes to: the seam at which a router is plugged in (policies: workers.routing)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from streams.core.failure import Failure
from streams.core.lineage import Serial
from streams.core.plan import Plan, StageKind
from streams.core.record import Envelope
from streams.errors import ConfigError, RecordError
from streams.settings import KafkaSettings, PipelineSettings

GROUP: Final = "descant.routers"

SAMPLING_FIELDS: Final = ("max_tokens", "temperature", "top_p", "stop", "logprobs", "seed")


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """The value of a record on `models.<model>.prompts`; its headers are the envelope that the text must carry."""

    prompt: str
    sampling: Mapping[str, Any]
    """Only what the stage or its prompt sets; the rest is the worker's default."""
    topic: str
    partition: int
    key: str
    """Where the text goes."""
    weight: float = 1.0
    """The chance that a delay of this prompt delays its request, as far as the router knows."""
    whole: bool = False
    """The text leaves as one record, when it is finished."""

    def encode(self) -> bytes:
        body = {
            "prompt": self.prompt,
            "sampling": dict(self.sampling),
            "out": {"topic": self.topic, "partition": self.partition, "key": self.key},
            "weight": self.weight,
            "whole": self.whole,
        }
        return json.dumps(body, ensure_ascii=False).encode()


def decode_prompt(value: bytes | None) -> PromptRecord:
    """Raises RecordError, code `record.prompt`."""
    try:
        body = json.loads(value or b"")
        out = body["out"]
        return PromptRecord(
            str(body["prompt"]),
            {k: body["sampling"][k] for k in SAMPLING_FIELDS if body["sampling"].get(k) is not None},
            str(out["topic"]),
            int(out["partition"]),
            str(out["key"]),
            float(body.get("weight", 1.0)),
            bool(body.get("whole", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RecordError("the value is not a prompt with its destination", code="record.prompt") from None


def instances_of(plan: Plan, model: str, partitions: int, slots_here: Mapping[str, int]) -> float:
    """How many processes like this one send prompts to a model: all slots of the stages that ask for it over those that
    are here. A fraction where they do not share evenly; other pipelines that use the model are not known here.

    slots_here   of the stages that run in this process, by name
    """
    asking = [stage.name for stage in plan.stages if stage.kind is StageKind.MODEL and stage.options["model"] == model]
    return len(asking) * partitions / max(1, sum(slots_here.get(name, 0) for name in asking))


OnStranded: TypeAlias = Callable[[Envelope, Failure], None]
OnFatal: TypeAlias = Callable[[BaseException], None]
ROUTE_HEADER: Final = "route"
"""Of a prompt record: why it went to its lane, in one word of the policy's."""


class Placed(NamedTuple):
    lane: int
    why: str
    """One word: the term that decided; `rule` where the policy has none."""


class Router(Protocol):
    """One for each process and pipeline; every method runs on the loop and must not wait."""

    def weight(self, envelope: Envelope) -> float:
        """The chance that a delay of this prompt delays its request; asked before `lane`."""

    def lane(self, model: str, envelope: Envelope, prompt: PromptRecord, *, instances: float) -> Placed:
        """Where it goes; it is produced there at once.

        instances   so many like this one send to this model, as `instances_of` finds
        """

    def closed(self, serial: Serial) -> None:
        """Nobody waits for this request's prompts any more."""

    def report_to(self, fail: OnStranded, fatal: OnFatal) -> None:
        """Call `fail` for a request that is about to end because nobody serves a model that it needs, and `fatal` with
        what keeps the router from knowing its workers."""

    async def close(self) -> None: ...


class RoundRobinRouter:
    """Each lane in turn. Knows nothing of workers, prefixes or load: the baseline."""

    def __init__(self, lanes: int) -> None:
        self._turns: Final[dict[str, itertools.cycle[int]]] = {}
        self._lanes: Final = lanes

    def lane(self, model: str, envelope: Envelope, prompt: PromptRecord, *, instances: float) -> Placed:
        del envelope, prompt, instances
        return Placed(next(self._turns.setdefault(model, itertools.cycle(range(self._lanes)))), "rule")

    def weight(self, envelope: Envelope) -> float:
        del envelope
        return 1.0

    def closed(self, serial: Serial) -> None:
        """Nothing is remembered of a request."""

    def report_to(self, fail: OnStranded, fatal: OnFatal) -> None:
        """It does not know whether anybody serves a model."""

    async def close(self) -> None:
        """Nothing is held."""


RouterFactory = Callable[[KafkaSettings, PipelineSettings, str], Router]
"""(kafka, settings, policy name) -> a router, started on the running loop. Raises ConfigError for an unknown policy."""

ROUND_ROBIN: Final = "round_robin"


def create_router(kafka: KafkaSettings, settings: PipelineSettings) -> Router:
    """The router that `settings.routing` names: `round_robin` is here, all other policies are a plugin's.

    Raises ConfigError when nobody provides that policy.
    """
    providers = tuple(entry_points(group=GROUP))
    if settings.routing == ROUND_ROBIN:
        return RoundRobinRouter(settings.lanes)
    if not providers:
        raise ConfigError(
            f"nobody provides the routing policy {settings.routing!r}; without a plugin there is {ROUND_ROBIN}.",
            code="config.routing",
        )
    factory: RouterFactory = providers[0].load()
    return factory(kafka, settings, settings.routing)
