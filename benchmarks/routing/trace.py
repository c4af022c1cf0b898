"""Requests as graphs of model calls: the calls, the JSON-lines form, and its checks.

One line a call: `{"t": arrival of the request in s, "root": request, "id": call within the request,
"stage": n, "segs": [[content id, tokens], ...], "out": output tokens, "needs": triggers missing, "delay": s
after the last trigger, "when_done": [ids triggered at completion], "at_token": [[output token count, id
triggered in mid-stream], ...]}`. A prompt is the concatenation of its segments; equal content ids are equal
text. A call with `needs` 0 starts with its request. Lines of one request need not be neighbours.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streams.errors import RecordError

CALLS_MAX: Final = 1_000_000
TOKENS_MAX: Final = 2_000_000
"""Most tokens of one prompt or output: beyond it is a typing mistake, not a prompt."""
BLOCK: Final = 32
Name = str | int


class TraceError(RecordError):
    """A trace that cannot be run."""

    code = "record.trace"


@dataclass(frozen=True, slots=True)
class Spec:
    """One line."""

    t: float
    root: Name
    id: Name
    stage: Name
    segs: tuple[tuple[Name, int], ...]
    out: int
    needs: int = 0
    delay: float = 0.0
    when_done: tuple[Name, ...] = ()
    at_token: tuple[tuple[int, Name], ...] = ()


@dataclass(slots=True, eq=False)
class Call:
    """One call, compiled: neighbours are indices into the trace, the prompt is a chain of block hashes."""

    index: int
    root: int
    t: float
    stage: str
    tokens: int
    blocks: tuple[int, ...]
    out: int
    needs: int
    delay: float
    when_done: tuple[int, ...]
    at_token: tuple[tuple[int, int], ...]
    """By token, ascending; beyond the last token counts as the last."""
    group: int = -1
    """The fork group that it is in, or −1."""


@dataclass(frozen=True, slots=True)
class Group:
    """Siblings: the calls of one stage in one request that descend from one fork."""

    stage: str
    calls: tuple[int, ...]
    origins: tuple[int, ...]
    """The calls whose text or end made the siblings; the size is known when they are done."""


@dataclass(frozen=True, slots=True)
class Trace:
    calls: tuple[Call, ...]
    groups: tuple[Group, ...]
    arrivals: tuple[float, ...]
    """Per request."""
    roots: tuple[tuple[int, ...], ...]
    """Per request, its calls."""

    @property
    def seconds(self) -> float:
        return max(self.arrivals, default=0.0)


def load(path: Path) -> Trace:
    """Reads a JSON-lines file. Raises TraceError with the line and what is wrong with it."""
    specs: list[Spec] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    specs.append(_spec(line, number))
                if len(specs) > CALLS_MAX:
                    raise TraceError(f"the trace has more than {CALLS_MAX} calls: cut it.")
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"the trace {path.name!r} cannot be read: {error}") from error
    return compiled(specs)


def dump(specs: Iterable[Spec], path: Path) -> None:
    """Writes specs as JSON lines."""
    with path.open("w", encoding="utf-8") as lines:
        for s in specs:
            lines.write(json.dumps({field: getattr(s, field) for field in Spec.__slots__}) + "\n")


def _spec(line: str, number: int) -> Spec:
    def wrong(what: str) -> TraceError:
        return TraceError(f"line {number} of the trace: {what}. The format is in benchmarks/routing/trace.py.")

    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise wrong("it is not JSON") from error
    if not isinstance(raw, dict):
        raise wrong("it is not an object")
    for required in ("t", "root", "id", "stage", "segs", "out"):
        if required not in raw:
            raise wrong(f"{required!r} is missing")

    def name(value: Any, field: str) -> Name:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise wrong(f"{field} must be a string or an integer")
        return value

    def seconds(value: Any, field: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise wrong(f"{field!r} must be a number of seconds, 0 or more")
        return float(value)

    def count(value: Any, field: str, least: int) -> int:
        is_whole = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_whole or value != int(value) or not least <= value <= TOKENS_MAX:
            raise wrong(f"{field} must be a whole number from {least} to {TOKENS_MAX}")
        return int(value)

    def pairs(field: str) -> Sequence[tuple[Any, Any]]:
        value = raw.get(field) or []
        if not isinstance(value, list) or not all(isinstance(p, list) and len(p) == 2 for p in value):
            raise wrong(f"{field!r} must be a list of pairs")
        return [(first, second) for first, second in value]

    when_done = raw.get("when_done") or []
    if not isinstance(when_done, list):
        raise wrong("'when_done' must be a list of call ids")
    segs = tuple((name(c, "a content id"), count(n, "the tokens of a segment", 0)) for c, n in pairs("segs"))
    if not 1 <= sum(n for _, n in segs) <= TOKENS_MAX:
        raise wrong(f"the prompt must have 1 to {TOKENS_MAX} tokens")
    return Spec(
        t=seconds(raw["t"], "t"),
        root=name(raw["root"], "'root'"),
        id=name(raw["id"], "'id'"),
        stage=name(raw["stage"], "'stage'"),
        segs=segs,
        out=count(raw["out"], "'out'", 1),
        needs=count(raw.get("needs", 0), "'needs'", 0),
        delay=seconds(raw.get("delay", 0.0), "delay"),
        when_done=tuple(name(i, "an id in 'when_done'") for i in when_done),
        at_token=tuple(
            (count(n, "a token count in 'at_token'", 0), name(i, "an id in 'at_token'")) for n, i in pairs("at_token")
        ),
    )


def compiled(specs: Sequence[Spec]) -> Trace:
    """Resolves names, hashes prompts, finds forks. Raises TraceError for a graph that cannot finish."""
    if not specs:
        raise TraceError("the trace is empty: it needs one line a call.")
    where: dict[tuple[Name, Name], int] = {}
    for index, s in enumerate(specs):
        if where.setdefault((s.root, s.id), index) != index:
            raise TraceError(f"request {s.root!r} has two calls with the id {s.id!r}.")
    number: dict[Name, int] = {}
    of_root: dict[Name, list[int]] = defaultdict(list)
    for index, s in enumerate(specs):
        number.setdefault(s.root, len(number))
        of_root[s.root].append(index)
    arrivals = [min(specs[i].t for i in of_root[root]) for root in number]
    start = min(arrivals)
    arrivals = [t - start for t in arrivals]

    def target(s: Spec, other: Name) -> int:
        found = where.get((s.root, other))
        if found is None:
            raise TraceError(
                f"call {s.id!r} of request {s.root!r} triggers {other!r}, which the request does not have."
            )
        return found

    chains = _Chains()
    calls = []
    for index, s in enumerate(specs):
        tokens = sum(n for _, n in s.segs)
        at_token = sorted((min(max(n, 1), s.out), target(s, other)) for n, other in s.at_token)
        calls.append(
            Call(
                index=index,
                root=number[s.root],
                t=arrivals[number[s.root]],
                stage=str(s.stage),
                tokens=tokens,
                blocks=chains.blocks(s.segs),
                out=s.out,
                needs=s.needs,
                delay=s.delay,
                when_done=tuple(target(s, other) for other in s.when_done),
                at_token=tuple(at_token),
            )
        )
    _check_progress(specs, calls)
    groups = _groups(calls, list(of_root.values()))
    return Trace(tuple(calls), groups, tuple(arrivals), tuple(tuple(members) for members in of_root.values()))


class _Chains:
    """Blocks of 32 tokens as small numbers: equal numbers, equal prefix. Exact, since nothing is hashed."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[Any, ...], int] = {}

    def blocks(self, segs: Sequence[tuple[Name, int]]) -> tuple[int, ...]:
        chain: list[int] = []
        pieces: list[tuple[Name, int, int]] = []
        missing, parent = BLOCK, 0
        for content, tokens in segs:
            at = 0
            while tokens - at >= missing:
                pieces.append((content, at, missing))
                parent = self._numbers.setdefault((parent, *pieces), len(self._numbers) + 1)
                chain.append(parent)
                at += missing
                missing, pieces = BLOCK, []
            if tokens > at:
                pieces.append((content, at, tokens - at))
                missing -= tokens - at
        return tuple(chain)


def _check_progress(specs: Sequence[Spec], calls: Sequence[Call]) -> None:
    """Every call must be triggered exactly as often as it needs, and no call may wait for itself."""
    triggers = Counter(t for c in calls for t in (*c.when_done, *(i for _, i in c.at_token)))
    missing = [c.needs for c in calls]
    for call in calls:
        if triggers[call.index] != call.needs:
            s = specs[call.index]
            raise TraceError(
                f"call {s.id!r} of request {s.root!r} needs {call.needs} triggers, gets {triggers[call.index]}: "
                "it would start never or twice."
            )
    ready = [c.index for c in calls if not c.needs]
    reached = len(ready)
    while ready:
        call = calls[ready.pop()]
        for other in (*call.when_done, *(i for _, i in call.at_token)):
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
                reached += 1
    if reached < len(calls):
        stuck = next(i for i, m in enumerate(missing) if m)
        raise TraceError(f"call {specs[stuck].id!r} of request {specs[stuck].root!r} waits for itself.")


def _groups(calls: Sequence[Call], roots: Sequence[Sequence[int]]) -> tuple[Group, ...]:
    """Siblings by request and stage. A call is in a fork when a text triggered it in mid-stream, when what
    triggered it triggered others of its stage too, or when its only trigger is itself in a fork."""
    parents: Mapping[int, list[int]] = defaultdict(list)
    streamed: set[int] = set()
    for call in calls:
        for other in call.when_done:
            parents[other].append(call.index)
        for _, other in call.at_token:
            parents[other].append(call.index)
            streamed.add(other)
    groups: list[Group] = []
    for members in roots:
        origins: dict[int, int] = {}
        for index in _by_trigger(members, calls, parents):
            call, above = calls[index], parents[index]
            if len(above) != 1:
                continue
            parent = calls[above[0]]
            twins = [i for i in (*parent.when_done, *(i for _, i in parent.at_token)) if calls[i].stage == call.stage]
            if index in streamed or len(twins) > 1:
                origins[index] = parent.index
            elif parent.index in origins:
                origins[index] = origins[parent.index]
        by_stage: Mapping[str, list[int]] = defaultdict(list)
        for index in origins:
            by_stage[calls[index].stage].append(index)
        for stage, siblings in by_stage.items():
            for index in siblings:
                calls[index].group = len(groups)
            groups.append(Group(stage, tuple(siblings), tuple({origins[i] for i in siblings})))
    return tuple(groups)


def _by_trigger(members: Sequence[int], calls: Sequence[Call], parents: Mapping[int, Sequence[int]]) -> list[int]:
    """The calls of one request, those that trigger before those triggered."""
    missing = {i: len(parents[i]) for i in members}
    order = [i for i in members if not missing[i]]
    for index in order:
        call = calls[index]
        for other in (*call.when_done, *(i for _, i in call.at_token)):
            missing[other] -= 1
            if not missing[other]:
                order.append(other)
    return order
