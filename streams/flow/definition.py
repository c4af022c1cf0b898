"""A declared stage: its function, what its signature says, and its settings, all checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from streams.core.plan import OnError
from streams.flow.errors import RefusedFlowError
from streams.flow.resource import Resource
from streams.flow.signature import StageSignature, read_signature
from streams.flow.values import Sampling

# Topics and consumers beside the stages' own; `<pipeline>.<stage>` must not be one of them.
_RESERVED_STAGES: Final = frozenset(("requests", "accepted", "control", "answers", "dead-letters", "closer", "ingress"))
# Their topics are named like those of pipelines: `models.<model>.prompts`, `assertions.flags`, ...
_RESERVED_PIPELINES: Final = frozenset(("models", "workers", "assertions", "learning"))
# Kafka takes 249 characters for `<pipeline>.<stage>`; half of that each leaves room for a group id's suffix.
_NAME_LENGTH_MAX: Final = 120
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class StageDefinition:
    name: str
    function: Callable[..., Any]
    signature: StageSignature
    retries: int
    on_error: OnError
    timeout_seconds: float | None
    options: Mapping[str, Any]
    uses: tuple[Resource[Any], ...] = ()


def define(
    function: Callable[..., Any],
    *,
    options: Mapping[str, Any],
    retries: int,
    on_error: str,
    timeout_seconds: float | None,
    uses: Sequence[Resource[Any]],
    local_names: Mapping[str, Any],
) -> StageDefinition:
    """Check one stage. `options`: `model` and sampling of a @model stage, empty for any other."""
    name = check_name(getattr(function, "__name__", ""), "stage", _RESERVED_STAGES)
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise _bad_option(name, "retries", "a whole number of further runs, 0 or more")
    if on_error not in tuple(OnError):
        raise _bad_option(name, "on_error", "one of 'fail', 'drop', 'pass'")
    if timeout_seconds is not None and not (timeout_seconds > 0 and math.isfinite(timeout_seconds)):
        raise _bad_option(name, "timeout", "a number of seconds above 0, or None")
    if not all(isinstance(used, Resource) for used in uses):
        raise _bad_option(name, "uses", "a sequence of streams.Resource")
    signature = read_signature(function, name=name, is_model=bool(options), local_names=local_names)
    takes_failed = [p.name for p in signature.parameters if p.takes_failed]
    if takes_failed and on_error != OnError.PASS:
        raise RefusedFlowError(
            "flow.failed",
            f"parameter {takes_failed[0]!r} takes Failed, which is given only with on_error='pass'",
            stage=name,
            parameter=takes_failed[0],
            hint="Write on_error='pass' in the decorator, or take Failed out of the annotation",
        )
    if on_error == OnError.PASS and not takes_failed:
        raise RefusedFlowError(
            "flow.failed",
            "has on_error='pass', but no parameter takes Failed",
            stage=name,
            hint="Annotate where errors may come, as in Stream[Verdict | Failed]",
        )
    return StageDefinition(
        name, function, signature, retries, OnError(on_error), timeout_seconds, _checked(name, options), tuple(uses)
    )


def check_name(name: str, what: str, reserved: frozenset[str] = _RESERVED_PIPELINES) -> str:
    """The name of a stage or pipeline, if topics can be called after it."""
    if not _NAME.fullmatch(name) or len(name) > _NAME_LENGTH_MAX:
        raise RefusedFlowError(
            "flow.name",
            f"{name!r} cannot name a {what}: topics are called after it",
            hint=f"Use a letter, then letters, digits, '_' and '-', at most {_NAME_LENGTH_MAX} in all",
        )
    if name in reserved:
        raise RefusedFlowError(
            "flow.name",
            f"{name!r} cannot name a {what}: Descant has topics of that name",
            hint="Choose another name",
        )
    return name


def _checked(stage: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if not options:
        return {}
    model = options["model"]
    if not isinstance(model, str) or not _MODEL_NAME.fullmatch(model) or len(model) > _NAME_LENGTH_MAX:
        raise _bad_option(
            stage, "model", f"the served name: up to {_NAME_LENGTH_MAX} letters, digits, '.', '_' and '-'"
        )
    try:
        sampling = Sampling.model_validate({k: v for k, v in options.items() if k not in ("model", "whole")})
    except ValidationError as error:
        first = error.errors()[0]
        raise _bad_option(stage, str(first["loc"][0]), f"something else ({first['msg']})") from error
    whole = options.get("whole", False)
    if not isinstance(whole, bool):
        raise _bad_option(stage, "whole", "True or False")
    return {"model": model, **({"whole": True} if whole else {}), **sampling.model_dump(exclude_none=True)}


def _bad_option(stage: str, option: str, expected: str) -> RefusedFlowError:
    return RefusedFlowError(
        "flow.option",
        f"{option!r} must be {expected}",
        stage=stage,
        hint="Correct it in the stage's decorator",
    )
