"""Which lane a prompt goes to: the seam at which a router is plugged in (policies: workers.routing)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from streams.core.lineage import Serial
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

    def encode(self) -> bytes:
        body = {
            "prompt": self.prompt,
            "sampling": dict(self.sampling),
            "out": {"topic": self.topic, "partition": self.partition, "key": self.key},
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
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RecordError("the value is not a prompt with its destination", code="record.prompt") from None


class Router(Protocol):
    """One for each process and pipeline; every method runs on the loop and must not wait."""

    def lane(self, model: str, envelope: Envelope, prompt: PromptRecord) -> int: ...
    def closed(self, serial: Serial) -> None: ...
    async def close(self) -> None: ...


class RoundRobinRouter:
    """Each lane in turn. Knows nothing of workers, prefixes or load: the baseline."""

    def __init__(self, lanes: int) -> None:
        self._turns: Final[dict[str, itertools.cycle[int]]] = {}
        self._lanes: Final = lanes

    def lane(self, model: str, envelope: Envelope, prompt: PromptRecord) -> int:
        del envelope, prompt
        return next(self._turns.setdefault(model, itertools.cycle(range(self._lanes))))

    def closed(self, serial: Serial) -> None:
        """Nothing is remembered of a request."""

    async def close(self) -> None:
        """Nothing is held."""


RouterFactory = Callable[[KafkaSettings, PipelineSettings, str], Router]
"""(kafka, settings, policy name) -> a router, started on the running loop."""


def create_router(kafka: KafkaSettings, settings: PipelineSettings) -> Router:
    """The router that `settings.routing` names. Raises ConfigError when nobody provides that policy."""
    if settings.routing == "round-robin":
        return RoundRobinRouter(settings.lanes)
    found = {e.name: e for e in entry_points(group=GROUP)}
    if settings.routing not in found:
        names = ", ".join(sorted({"round-robin", *found}))
        raise ConfigError(f"there is no routing policy {settings.routing!r}; there are {names}.", code="config.routing")
    factory: RouterFactory = found[settings.routing].load()
    return factory(kafka, settings, settings.routing)
