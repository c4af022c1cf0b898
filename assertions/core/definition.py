"""What an assertion is: a name, what it looks at, and a function of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, get_args

from pydantic import TypeAdapter

from assertions.core.observation import JOINED, Observation, canonical
from assertions.core.window import Window, WindowSpec
from assertions.errors import AssertionSetupError

if TYPE_CHECKING:
    from assertions.core.consistency import ConsistencyRule

PER_REQUEST: Final = "request"
Enforcement: TypeAlias = Literal["abort", "retry", "replace"]
ENFORCEMENTS: Final[tuple[Enforcement, ...]] = get_args(Enforcement)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,119}")

# How long after an observation's event time another may still come before it. Kafka's append times are ordered within a
# partition, so only the spread between partitions and a slow intake count; it delays what stands, never an alert.
LATENESS_SECONDS: Final = 5.0
# An assertion that takes longer than this for one example holds up the batch that others wait in.
LIMIT_SECONDS: Final = 1.0


class Staged(Protocol):
    """What `on=` takes: a stage of a traced pipeline."""

    @property
    def name(self) -> str: ...


On: TypeAlias = "Staged | str"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A stage of a pipeline, as its topic `<pipeline>.<stage>` names it; stage "accepted" is the request."""

    pipeline: str
    stage: str

    def __str__(self) -> str:
        return f"{self.pipeline}.{self.stage}"

    @staticmethod
    def of(on: On) -> Target:
        """From a stage object (`.name`, `.pipeline`) or "pipeline.stage". Raises AssertionSetupError otherwise."""
        if isinstance(on, str):
            pipeline, dot, stage = on.rpartition(".")
            if not (dot and pipeline and stage) or JOINED in on:
                raise AssertionSetupError(f"on={on!r}: write it as 'pipeline.stage', or give the stage object itself.")
            return Target(pipeline, stage)
        owner = getattr(on, "pipeline", None)
        pipeline_name = owner if isinstance(owner, str) else getattr(owner, "name", None)
        stage_name = getattr(on, "name", None)
        if not isinstance(pipeline_name, str) or not isinstance(stage_name, str):
            raise AssertionSetupError(
                f"on= needs a stage of a pipeline or 'pipeline.stage', not {type(on).__name__}. "
                "Functions become stages through @pipeline.stage or @pipeline.model."
            )
        return Target(pipeline_name, stage_name)


Adapters: TypeAlias = tuple[TypeAdapter[Any] | None, ...]
"""What the values become before an assertion is given them; None: what the JSON says."""


class Types:
    """Adapters under which values are found again. By identity: a tuple is hashed anew at each look, and a window of 20
    is 20 looks."""

    __slots__ = ("adapters",)

    def __init__(self, adapters: Adapters) -> None:
        self.adapters: Final = adapters


types_of = cache(Types)
"""One for the same adapters, so that assertions share what is made of a value."""


@dataclass(slots=True, eq=False)
class Member:
    """An observation with its values as the assertions' types, each made once and kept as long as a window shows it.

    Assertions that look at one observation share it: with one for each, 20 assertions validated every item 20 times.
    """

    observation: Observation
    known: dict[Types, tuple[Any, ...]] = field(default_factory=dict)

    def typed(self, types: Types) -> tuple[Any, ...]:
        """Raises pydantic.ValidationError where a value does not fit its type."""
        found = self.known.get(types)
        if found is None:
            found = self.known[types] = tuple(
                value if adapter is None else adapter.validate_python(value)
                for value, adapter in zip(self.observation.values, types.adapters, strict=True)
            )
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Assertion:
    """A registered assertion. Calling it calls the function it was made from."""

    name: str
    on: tuple[Target, ...]
    function: Callable[..., Any]
    types: Types
    window: WindowSpec | None = None
    per: Callable[..., Any] | str | None = None
    rule: ConsistencyRule | None = None
    """Set for what `consistency` made; then `function` is its `id`."""
    takes_window: bool = False
    version: str = "1"
    owner: str = ""
    tags: frozenset[str] = frozenset()
    severity: str = ""
    """What the number means, for the person who sees an alert."""
    description: str = ""
    lateness: float = LATENESS_SECONDS
    limit_seconds: float = LIMIT_SECONDS
    is_early: bool = False
    """Judges a text while it is generated, not only when it has ended."""
    enforce: Enforcement | None = None
    """What is done about what it flags; None: reported only."""
    retries: int = 1
    """How often it asks for another output of one item."""
    options: Mapping[str, Any] = field(default_factory=dict)
    is_async: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_async", inspect.iscoroutinefunction(self.function))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def pipeline(self) -> str:
        return self.on[0].pipeline

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(target.stage for target in self.on)

    @property
    def is_keyed(self) -> bool:
        """Its window reaches over requests, so that it needs all observations of one key in one place."""
        return self.rule is not None or (self.window is not None and self.per != PER_REQUEST)

    def keys(self, member: Member) -> tuple[str, ...]:
        """The windows that the observation belongs to. Calls the user's `per` or `id`; raises what they raise."""
        observation = member.observation
        if not self.is_keyed:
            return (home(observation),)
        if self.rule is not None and self.per is None:
            outputs = self.rule.outputs(*member.typed(self.types))
            return tuple(dict.fromkeys(output.id for output in outputs))
        if not callable(self.per):
            return ("",)
        return (canonical(_plain(self.per(*member.typed(self.types)))),)

    def call(self, member: Member, before: Sequence[Member]) -> Any:
        """Run the function on one observation and those before it; the returned value, or a coroutine of it."""
        types = self.types
        items = member.typed(types)
        if not self.takes_window:
            return self.function(*items)
        # Nearly all of them were judged themselves before, so that their values are known.
        recent: list[Any] = [each.known.get(types) or each.typed(types) for each in before]
        if len(self.on) == 1:
            recent = [only for (only,) in recent]
        return self.function(*items, Window(recent, lambda: [each.observation.time for each in before]))


def home(observation: Observation) -> str:
    """The key of its request: what belongs to no other window is there."""
    return f"{observation.pipeline}/{observation.serial}"


def _plain(key: Any) -> Any:
    """A key as JSON: enum members and dates by their text."""
    if isinstance(key, str | int | float | bool) or key is None:
        return key
    if isinstance(key, tuple | list):
        return [_plain(part) for part in key]
    return str(key)


def check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise AssertionSetupError(
            f"{name!r} is no name for an assertion: letters, digits, '_', '-' and '.', at most 120, "
            "starting with a letter."
        )
    return name


def check_seconds(name: str, value: float) -> float:
    if isinstance(value, bool) or not (0 <= value < float("inf")):
        raise AssertionSetupError(f"{name}={value!r}: a number of seconds, 0 or more.")
    return float(value)


def targets(on: On | Sequence[On]) -> tuple[Target, ...]:
    """One or several stages of one pipeline, in the order given."""
    listed = [on] if isinstance(on, str) or not isinstance(on, Sequence) else list(on)
    found = tuple(Target.of(each) for each in listed)
    if not found:
        raise AssertionSetupError("on= names no stage.")
    if len(set(found)) != len(found):
        raise AssertionSetupError(f"on= names a stage twice: {', '.join(map(str, found))}.")
    if len({target.pipeline for target in found}) > 1:
        raise AssertionSetupError(
            f"on= joins stages of several pipelines ({', '.join(map(str, found))}): they share no request. "
            "Write one assertion for each, with the same per= key."
        )
    return found


def parameters(function: Callable[..., Any], count: int, name: str) -> tuple[Types, bool]:
    """The types of the first `count` parameters, and whether one more is there for the window."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, TypeError):
        signature = inspect.signature(function)
    positional = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    if not (count <= len(positional) and len(required) <= count + 1):
        raise AssertionSetupError(
            f"assertion {name!r} takes {len(positional)} arguments; its on= gives {count}"
            ", and one more is for the window (recent: Window[...])."
        )
    adapters = tuple(_adapter(p.annotation) for p in positional[:count])
    return types_of(adapters), len(positional) > count


def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    if annotation is inspect.Parameter.empty or annotation is Any or isinstance(annotation, str):
        return None
    try:
        return _adapter_of(annotation)
    except TypeError:  # metadata that has no hash
        return TypeAdapter(annotation)


@cache
def _adapter_of(annotation: Any) -> TypeAdapter[Any]:
    """One for a type, so that its values are made once for all assertions that take them."""
    return TypeAdapter(annotation)
