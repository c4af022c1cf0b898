"""Who produced an item: serials, runs, paths, and the order on lineages (PROTOCOL §§1–3)."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from streams.core.plan import Plan
from streams.errors import RecordError

Path: TypeAlias = tuple[int, ...]
"""Child indices from the request root; () is the request itself."""


class Serial(NamedTuple):
    """What a request is called inside the pipeline: where its record stands on `<pipeline>.accepted`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class RunId(NamedTuple):
    """One execution of one node. Epochs are raised in a fenced commit before anything runs; n is never reset."""

    epoch: int
    n: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.n}"


Lineage: TypeAlias = tuple[RunId | None, ...]
"""The runs that `lin` names, in the order of the producing stage's `lineage`; None where an empty fork left a hole."""

NodeKey: TypeAlias = tuple[int, Path]
"""(topological index of the stage, path of the node): sorts in the order in which lineages are compared."""

Entry: TypeAlias = tuple[NodeKey, RunId]

ROOT: Final[Path] = ()

COUNT_DIGITS_MAX: Final = 18


class Layout:
    """Says which nodes the `lin` of a record names; fixed by the plan."""

    def __init__(self, plan: Plan) -> None:
        self.index: Final = {stage.name: i for i, stage in enumerate(plan.stages)}
        self._named: Final = {
            stage.name: tuple((self.index[a], plan[a].depth) for a in stage.lineage) for stage in plan.stages
        }

    def entries(self, stage: str, path: Path, lin: Lineage) -> list[Entry]:
        """The (node, run) pairs of a record of `stage`, in topological order.

        Raises RecordError when the stage is unknown, or `lin` or `path` does not fit it.
        """
        if not stage:
            return []
        named = self._named.get(stage)
        if named is None:
            raise RecordError(f"no stage {stage!r} in this plan", code="record.stage")
        if len(lin) != len(named):
            raise RecordError(
                f"lineage of stage {stage!r} has {len(lin)} runs, the plan says {len(named)}", code="record.lineage"
            )
        if len(path) < named[-1][1]:
            raise RecordError(f"path of stage {stage!r} is too short", code="record.path")
        return [((i, path[:depth]), run) for (i, depth), run in zip(named, lin, strict=True) if run is not None]


def routing_key(request_id: str, path: Path, depth: int) -> str:
    """The record key: what must meet at one instance shares it, everything else spreads.

    A marker above the key depth (shorter path) is keyed by its own path (PROTOCOL §4.4).
    """
    return f"{request_id}/{format_path(path[:depth])}" if depth and path else request_id


def format_path(path: Path) -> str:
    return ".".join(map(str, path))


def parse_path(text: bytes) -> Path:
    if not text:
        return ROOT
    parts = text.split(b".")
    if not all(map(_is_count, parts)):
        raise RecordError("header 'path' is not a list of indices", code="record.envelope")
    return tuple(map(int, parts))


def _is_count(text: bytes) -> bool:
    """Of 64 bits at most: Python itself refuses to read very long ones."""
    return text.isdigit() and len(text) <= COUNT_DIGITS_MAX


def parse_run(text: bytes) -> RunId:
    epoch, dash, n = text.partition(b"-")
    if not dash or not (_is_count(epoch) and _is_count(n)):
        raise RecordError("a run id is not <epoch>-<n>", code="record.envelope")
    return RunId(int(epoch), int(n))


def format_lineage(lin: Lineage) -> str:
    return ",".join([f"{run[0]}-{run[1]}" if run is not None else "" for run in lin])


def parse_lineage(text: bytes) -> Lineage:
    return tuple([parse_run(part) if part else None for part in text.split(b",")]) if text else ()


def parse_serial(text: bytes) -> Serial:
    partition, colon, offset = text.partition(b":")
    if not colon or not (_is_count(partition) and _is_count(offset)):
        raise RecordError("header 'serial' is not <partition>:<offset>", code="record.envelope")
    return Serial(int(partition), int(offset))
