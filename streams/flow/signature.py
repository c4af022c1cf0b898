"""What a stage function's signature says: which parameters are joined, and whether it maps, forks or
prompts."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin, get_type_hints

from streams.core.plan import InputMode, StageKind
from streams.flow.errors import RefusedFlowError
from streams.flow.stream import Stream
from streams.flow.types import members, not_a_record, type_name, without
from streams.flow.values import Chunk, Drop, Failed, Prompt

_FORKS_ASYNC: Final = (AsyncIterator, AsyncGenerator)
_FORKS_SYNC: Final = (Iterator, Generator)
_NO_PLAIN_FUNCTION: Final = (
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
)


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    mode: InputMode
    item_type: Any
    """T of `T`, `Stream[T]`, `T | Failed` or `Stream[T | Failed]`."""
    takes_failed: bool
    required: bool


@dataclass(frozen=True, slots=True)
class StageSignature:
    kind: StageKind
    parameters: tuple[Parameter, ...]
    output_type: Any
    """U of `-> U`, `-> U | Drop` and of a fork's items; str for a @model stage."""


def read_signature(
    function: Callable[..., Any], *, name: str, is_model: bool, local_names: Mapping[str, Any]
) -> StageSignature:
    """Read the annotations of one stage function. `local_names` are those visible where it is defined.

    Raises RefusedFlowError: an annotation is missing or not known, a type cannot be a record, a function that
    is given streams cannot wait for them, a @model stage returns something else than a Prompt.
    """
    hints = _hints(function, name, local_names)
    parameters = tuple(_parameter(p, hints, name) for p in inspect.signature(function).parameters.values())
    if "return" not in hints:
        raise RefusedFlowError(
            "flow.annotation",
            "has no return annotation",
            stage=name,
            hint="Write what it returns, as in '-> Claim'",
        )
    kind, output_type = _output(function, hints["return"], name, is_model)
    if any(p.mode is InputMode.STREAM for p in parameters) and not _can_wait(function, hints["return"]):
        raise RefusedFlowError(
            "flow.sync-join",
            "has a Stream parameter but cannot wait for its items",
            stage=name,
            hint="Make it 'async def'",
        )
    return StageSignature(kind, parameters, output_type)


def read_flow(function: Callable[..., Any], pipeline: str, local_names: Mapping[str, Any]) -> tuple[Any, Any]:
    """The types of a flow's request and answer. Raises RefusedFlowError as `read_signature`."""
    parameters = tuple(inspect.signature(function).parameters.values())
    if len(parameters) != 1 or parameters[0].kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
        raise RefusedFlowError(
            "flow.parameters",
            f"the flow of {pipeline!r} must take one parameter, the request",
            hint="Put everything that a request says into one model",
        )
    if any(is_that(function) for is_that in _NO_PLAIN_FUNCTION):
        raise RefusedFlowError(
            "flow.async",
            f"the flow of {pipeline!r} is async or yields, but it only connects stages",
            hint="Make it a plain 'def' that returns the output of the last stage",
        )
    hints = _hints(function, None, local_names)
    for what in (parameters[0].name, "return"):
        if what not in hints:
            raise RefusedFlowError(
                "flow.annotation",
                f"the flow of {pipeline!r} has no annotation for {what!r}",
                hint="Write the types of request and answer: 'def flow(question: Question) -> Report'",
            )
    request_type = hints[parameters[0].name]
    _check_record(request_type, None, parameters[0].name)
    return request_type, hints["return"]


def _hints(function: Callable[..., Any], stage: str | None, local_names: Mapping[str, Any]) -> dict[str, Any]:
    of_what = "the flow's" if stage is None else "its"
    try:
        return get_type_hints(function, localns=dict(local_names), include_extras=True)
    except NameError as error:
        raise RefusedFlowError(
            "flow.annotation",
            f"{of_what} annotations name {error.name!r}, which is not known when the pipeline is imported",
            stage=stage,
            hint="Import it outside of 'if TYPE_CHECKING', and define it above",
        ) from error
    except TypeError as error:
        raise RefusedFlowError(
            "flow.annotation",
            f"{of_what} annotations are not types ({error})",
            stage=stage,
            hint="Annotate it with types",
        ) from error


def _parameter(parameter: inspect.Parameter, hints: Mapping[str, Any], stage: str) -> Parameter:
    name = parameter.name
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise RefusedFlowError(
            "flow.parameters",
            f"parameter {name!r} is variadic or positional-only",
            stage=stage,
            parameter=name,
            hint="Give every input a parameter of its own; they are passed by name",
        )
    if name not in hints:
        raise RefusedFlowError(
            "flow.annotation",
            f"parameter {name!r} has no annotation",
            stage=stage,
            parameter=name,
            hint="Annotate it with the type of one item, or with Stream[...] to join them",
        )
    mode, item = InputMode.ITEM, hints[name]
    if get_origin(item) is Stream or item is Stream:
        if not get_args(item):
            raise RefusedFlowError(
                "flow.annotation",
                f"parameter {name!r} is a Stream of nothing in particular",
                stage=stage,
                parameter=name,
                hint="Say of what: Stream[Claim], or Stream[str] for a text",
            )
        mode, item = InputMode.STREAM, get_args(item)[0]
    item, takes_failed = without(item, Failed)
    if not (mode is InputMode.STREAM and item is Chunk):
        _check_record(item, stage, name)
    return Parameter(name, mode, item, takes_failed, required=parameter.default is parameter.empty)


def _output(function: Callable[..., Any], annotation: Any, stage: str, is_model: bool) -> tuple[StageKind, Any]:
    value, _ = without(annotation, Drop)
    if is_model:
        if not (isinstance(value, type) and issubclass(value, Prompt)):
            raise RefusedFlowError(
                "flow.prompt",
                f"is a @model stage, and returns {type_name(annotation)}",
                stage=stage,
                hint="Return a Prompt; the output of the stage is what the model writes",
            )
        return StageKind.MODEL, str
    if isinstance(value, type) and issubclass(value, Prompt):
        raise RefusedFlowError(
            "flow.prompt",
            "returns a Prompt, and is no @model stage",
            stage=stage,
            hint="Declare it with @pipeline.model(...), which names the model that answers the prompt",
        )
    origin = get_origin(value) or value
    yields = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    if origin in _FORKS_ASYNC or origin in _FORKS_SYNC:
        if inspect.iscoroutinefunction(function) or not get_args(value):
            raise RefusedFlowError(
                "flow.fork",
                f"returns {type_name(annotation)}, but does not yield items of a known type",
                stage=stage,
                hint="A fork yields its items, and says of what: '-> AsyncIterator[Claim]'",
            )
        item, _ = without(get_args(value)[0], Drop)
        _check_record(item, stage, None)
        return StageKind.FORK, item
    if yields or origin in (AsyncIterable, Iterable):
        raise RefusedFlowError(
            "flow.fork",
            f"its return annotation, {type_name(annotation)}, does not say whether it forks",
            stage=stage,
            hint="Use AsyncIterator[...] or Iterator[...] with 'yield' for a fork, list[...] for one value",
        )
    _check_record(value, stage, None)
    return StageKind.MAP, value


def _check_record(annotation: Any, stage: str | None, parameter: str | None) -> None:
    for part in members(annotation):
        if part in (Drop, Failed, Prompt, Chunk, Stream) or get_origin(part) is Stream:
            reason: str | None = f"{type_name(part)} is no value of its own there"
            break
    else:
        reason = not_a_record(annotation)
    if reason is not None:
        what = "its output type" if parameter is None else f"the type of parameter {parameter!r}"
        raise RefusedFlowError(
            "flow.record",
            f"{what}, {type_name(annotation)}, cannot be a record ({reason})",
            stage=stage,
            parameter=parameter,
            hint="Use a pydantic model, str, a number, bool, or lists and dicts of them",
        )


def _can_wait(function: Callable[..., Any], annotation: Any) -> bool:
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or get_origin(annotation) in _FORKS_ASYNC
    )
