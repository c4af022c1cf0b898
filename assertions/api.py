"""`assertion` and `consistency`: how users write model assertions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from assertions.core.consistency import ConsistencyRule, Transition
from assertions.core.definition import (
    ENFORCEMENTS,
    LATENESS_SECONDS,
    LIMIT_SECONDS,
    PER_REQUEST,
    Assertion,
    Enforcement,
    On,
    check_name,
    check_seconds,
    parameters,
    targets,
)
from assertions.core.registry import REGISTRY, Registry
from assertions.core.window import HORIZON_SECONDS, WindowSpec
from assertions.errors import AssertionSetupError
from streams.core.revision import REVISIONS_MAX

BOTH: Final[tuple[Transition, ...]] = ("flicker", "appear")


def assertion(
    on: On | Sequence[On],
    *,
    window: int | None = None,
    within: float | None = None,
    per: Callable[..., Any] | str | None = None,
    severity: str = "",
    name: str | None = None,
    version: str = "1",
    owner: str = "",
    tags: Iterable[str] = (),
    lateness: float = LATENESS_SECONDS,
    limit_seconds: float = LIMIT_SECONDS,
    early: bool = False,
    enforce: Enforcement | None = None,
    retries: int = 1,
    registry: Registry = REGISTRY,
) -> Callable[[Callable[..., Any]], Assertion]:
    """Make a function of a stage's output a model assertion.

    on             a stage, "pipeline.stage", or several stages of one pipeline: joined where they belong to one item
    window         show it up to this many earlier observations, as a last parameter `recent: Window[T]`
    within         only those of the last so many seconds (default, with window: 600)
    per            a key: one window for each value of it; "request" keeps to one request; default one for all
    severity       in words, what the number means
    version        change it when the meaning changes: flags of another version are other flags
    lateness       seconds that an observation may come after later ones and still count exactly
    limit_seconds  longest time for one example; beyond it the assertion is reported as hanging
    early          judge a text already while it is generated; flags are provisional until it has ended
    enforce        what is done about what it flags, if the request is not answered yet. Default: report only
                   "abort": the request is ended; its answer is the typed error `cancelled`, naming assertion and flag
                   "retry": the (last) stage runs again for this item, and its function finds the reason in `hints()`
                   "replace": the item becomes what `Severity(..., instead=)` says; for stages that give one value
    retries        how often it asks for another output of one item, at most REVISIONS_MAX of streams.core.revision

    The function returns a number ≥ 0 (0: nothing wrong), a bool, a Severity, or Abstain; it may be async.
    Raises AssertionSetupError or DuplicateAssertionError where it is defined.
    """

    def define(function: Callable[..., Any]) -> Assertion:
        called = check_name(name if name is not None else getattr(function, "__name__", ""))
        stages = targets(on)
        if enforce is not None and enforce not in ENFORCEMENTS:
            raise AssertionSetupError(f"enforce={enforce!r}: it may be {', '.join(map(repr, ENFORCEMENTS))}.")
        if not 1 <= retries <= REVISIONS_MAX:
            raise AssertionSetupError(f"retries={retries!r}: 1 to {REVISIONS_MAX}; a stage heeds no more.")
        types, takes_window = parameters(function, len(stages), called)
        has_window = window is not None or within is not None or per is not None
        if takes_window and not has_window:
            raise AssertionSetupError(
                f"assertion {called!r} has a parameter for a window but none was asked for: "
                "give window=, within= or per=."
            )
        if has_window and not takes_window:
            raise AssertionSetupError(
                f"assertion {called!r} asks for a window and takes none: add a last parameter, recent: Window[...]."
            )
        if isinstance(per, str) and per != PER_REQUEST:
            raise AssertionSetupError(f"per={per!r}: a function of the example, or 'request'.")
        made = Assertion(
            name=called,
            on=stages,
            function=function,
            types=types,
            window=WindowSpec.of(window, within) if has_window else None,
            per=per,
            takes_window=takes_window,
            version=str(version),
            owner=owner,
            tags=frozenset(tags),
            severity=severity,
            description=inspect.getdoc(function) or "",
            lateness=check_seconds("lateness", lateness),
            limit_seconds=check_seconds("limit_seconds", limit_seconds),
            is_early=early,
            enforce=enforce,
            retries=retries,
        )
        registry.add(made)
        return made

    return define


def consistency(
    on: On | Sequence[On],
    *,
    name: str,
    id: Callable[..., Any],
    attrs: Callable[..., Mapping[str, Any]] | None = None,
    within: float = HORIZON_SECONDS,
    scope: Callable[..., Any] | None = None,
    outputs: Callable[..., Iterable[Any]] | None = None,
    transitions: Sequence[Transition] = BOTH,
    weak_label: Callable[[Any, Any, float], Any] | None = None,
    version: str = "1",
    owner: str = "",
    tags: Iterable[str] = (),
    lateness: float = LATENESS_SECONDS,
    limit_seconds: float = LIMIT_SECONDS,
    registry: Registry = REGISTRY,
) -> Assertion:
    """What is said about one identifier must agree, and must not come and go within `within` seconds.

    id           the identifier of an output; None: this is no output
    attrs        attribute → value; those of one identifier within `within` seconds of each other must be equal.
                 An output against the majority is flagged, with the majority as its correction; without one, both sides
    within       T of the paper, seconds
    scope        what is watched step by step (a camera, a patient). Given it, each observation is a step of its scope,
                 and identifiers that are gone and back ("flicker") or there and gone ("appear") within T are flagged
    outputs      the outputs in one observation, when a step holds several; `id` and `attrs` are then called with each
    weak_label   (before, after, time) → the output that should have been there; proposed for each missing step
    transitions  which of the two are flagged; only with scope
    limit_seconds  longest time for the functions given, for one example; beyond it they are reported as hanging

    Source: MLSys 2020, section 4. `id`, `attrs` and `outputs` are called with the stage's value as plain JSON, or as
    the type that the first parameter of `outputs`, else of `id`, is annotated with.
    """
    called = check_name(name)
    stages = targets(on)
    first = outputs if outputs is not None else id
    types, _ = parameters(first, len(stages), called)
    if not within > 0:
        raise AssertionSetupError(f"within={within!r}: longer than 0 seconds.")
    if within > HORIZON_SECONDS:
        raise AssertionSetupError(f"within={within:g}: at most {HORIZON_SECONDS:g} seconds are kept.")
    if attrs is None and scope is None:
        raise AssertionSetupError(
            f"consistency {called!r} checks nothing: give attrs= to compare what is said, "
            "or scope= to watch what is there."
        )
    if unknown := set(transitions) - set(BOTH):
        raise AssertionSetupError(f"transitions names {sorted(unknown)}: it may name {list(BOTH)}.")
    rule = ConsistencyRule(
        id=id,
        attrs=attrs,
        within=float(within),
        transitions=tuple(transitions) if scope is not None else (),
        explode=outputs,
        weak_label=weak_label,
    )
    made = Assertion(
        name=called,
        on=stages,
        function=id,
        types=types,
        per=scope,
        rule=rule,
        version=str(version),
        owner=owner,
        tags=frozenset(tags),
        severity="attributes: share of the others that disagree; transitions: 1 (just within T) to 2 (at once)",
        description=f"consistency of {', '.join(map(str, stages))}",
        lateness=check_seconds("lateness", lateness),
        limit_seconds=check_seconds("limit_seconds", limit_seconds),
    )
    registry.add(made)
    return made
