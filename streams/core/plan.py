"""The traced flow as plain data: what every instance, the ingress and the closer agree on.

Words: a *node* is one task of a stage, named by its *path*, the child indices from the request root. `depth` is the
length of a path. A model's text is one thing at its prompt's path; its chunks have token positions, not indices.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

REQUEST: Final = "accepted"
"""The source name of the request itself; it is read from `<pipeline>.accepted` and has depth 0."""


class StageKind(enum.StrEnum):
    MAP = "map"  # one value a node: T -> U, and joins
    FORK = "fork"  # many values a node: AsyncIterator[U], then an end with the count
    MODEL = "model"  # one prompt a node; a worker writes its text


class InputMode(enum.StrEnum):
    ITEM = "item"  # a plain parameter; shallower than the node: broadcast
    STREAM = "stream"  # Stream[T]: everything below the node, as it arrives


class OnError(enum.StrEnum):
    """What a join does with an error in place of an item."""

    FAIL = "fail"
    DROP = "drop"
    PASS = "pass"  # noqa: S105 — hands a `Failed` to the stage


@dataclass(frozen=True, slots=True)
class InputPlan:
    parameter: str
    source: str
    """The stage whose topic is read, or REQUEST."""
    mode: InputMode
    depth: int
    """Path length of the source's items; of a text, that of its prompt's node."""
    is_text: bool
    """The source is a @model stage: chunks and a token count instead of items and a child count."""
    item_type: Any
    """What the function is given: T of a plain parameter or of Stream[T]."""
    takes_failed: bool = False
    """Typed `T | Failed`: with `OnError.PASS` it is given the error of an item that has none."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two inputs that were made from one stage over ways on which their lineages do not show its runs.

    They must agree on its run at every path that both name: by the digest of an input whose source carries
    one, else by the lineages of its records."""

    shared: str
    sources: tuple[str, str]


@dataclass(frozen=True, slots=True)
class StagePlan:
    name: str
    kind: StageKind
    function: Callable[..., Any] = field(compare=False, repr=False)
    inputs: tuple[InputPlan, ...]
    ancestry: tuple[str, ...]
    """The forks whose indices form a node's path, outermost first; its length is the node's depth."""
    lineage: tuple[str, ...]
    """The stages that `lin` of its outputs names, in topological order of the flow; its own name is last."""
    output_type: Any
    key_depth: int
    """How many path indices the key of its output topic holds, beside the request id."""
    digests: tuple[str, ...] = ()
    """Stages below this join, or below one that it descends from, that a later stage meets again over
    another way (PROTOCOL §2, reconvergence): its records carry a digest of (path → run) for each."""
    compares: tuple[Comparison, ...] = ()
    """What its inputs must agree on before it runs, beside their lineages."""
    retries: int = 2
    """Further runs after a run that raised."""
    on_error: OnError = OnError.FAIL
    timeout_seconds: float | None = None
    """Longest that one run may take; None: until the request's deadline."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of a @model stage: `model` and sampling defaults (`max_tokens`, `temperature`, `stop`, ...)."""
    uses: tuple[Any, ...] = field(default=(), compare=False, repr=False)
    """What its process opens before it runs (`streams.Resource`)."""

    @property
    def depth(self) -> int:
        """Path length of a node."""
        return len(self.ancestry)

    @property
    def out_depth(self) -> int:
        """Path length of an output item; a text is at its node's path."""
        return self.depth + 1 if self.kind is StageKind.FORK else self.depth

    @property
    def sources(self) -> tuple[str, ...]:
        """The distinct sources it reads, sorted: the order that fixes the slot's home."""
        return tuple(sorted({i.source for i in self.inputs}))


@dataclass(frozen=True, slots=True)
class Plan:
    pipeline: str
    request_type: Any
    answer_type: Any
    stages: tuple[StagePlan, ...]
    """In topological order."""
    answer: str
    """The stage whose depth-0 value, or text, is the answer."""

    def __getitem__(self, name: str) -> StagePlan:
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def topic(self, source: str) -> str:
        return f"{self.pipeline}.{source}"

    def consumers(self, source: str) -> tuple[StagePlan, ...]:
        return tuple(s for s in self.stages if source in s.sources)

    @property
    def digest(self) -> str:
        """Names this shape of the flow in every record's `plan` header: two plans that share it understand each
        other's lineages. Functions' bodies and options are not part of it, so that they can be deployed freely."""
        shape = [
            (
                s.name,
                s.kind.value,
                s.ancestry,
                s.lineage,
                s.key_depth,
                s.digests,
                [(i.parameter, i.source, i.mode.value, i.depth) for i in s.inputs],
            )
            for s in self.stages
        ]
        return hashlib.blake2b(repr((self.pipeline, shape, self.answer)).encode(), digest_size=6).hexdigest()
