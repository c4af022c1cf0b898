"""Does a produced type fit a parameter, and can it be a record? Both are asked once, when a flow is
traced."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

from pydantic import PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation


def type_name(annotation: Any) -> str:
    """As a person would write it, without module names."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "None"
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(a) for a in arguments)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(repr(a) for a in arguments)}]"
    if origin is not None:
        inside = ", ".join("..." if a is ... else type_name(a) for a in arguments)
        return f"{getattr(origin, '__name__', str(origin))}[{inside}]"
    return str(getattr(annotation, "__name__", annotation)).removeprefix("typing.")


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union; anything else is its own only one."""
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def without(annotation: Any, marker: type) -> tuple[Any, bool]:
    """The annotation without `marker` among its alternatives, and whether it was there."""
    rest = tuple(m for m in members(annotation) if m is not marker)
    if len(rest) == len(members(annotation)):
        return annotation, False
    return (Union[rest] if rest else marker), True  # noqa: UP007 - built at run time


def not_a_record(annotation: Any) -> str | None:
    """Why values of this type cannot be written as JSON and read back, or None if they can."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        adapter.json_schema(mode="validation")
        adapter.json_schema(mode="serialization")
    except (
        PydanticSchemaGenerationError,
        PydanticUndefinedAnnotation,
        PydanticUserError,
        TypeError,
    ) as error:
        return str(error).splitlines()[0].rstrip(".")
    return None


def fits(produced: Any, wanted: Any) -> bool:
    """Whether every value of `produced`, written as JSON, can be read as `wanted`.

    Equal types, subclasses, members of unions, int for float, Any on either side, and the same inside lists,
    dicts and other generics. It goes by types only: a validator may still refuse a value when it comes.
    """
    produced, wanted = _plain(produced), _plain(wanted)
    if produced is Any or wanted is Any or wanted is object or produced == wanted:
        return True
    if len(alternatives := members(produced)) > 1:
        return all(fits(alternative, wanted) for alternative in alternatives)
    if len(alternatives := members(wanted)) > 1:
        return any(fits(produced, alternative) for alternative in alternatives)
    if get_origin(produced) is Literal:
        if get_origin(wanted) is Literal:
            return set(get_args(produced)) <= set(get_args(wanted))
        return all(fits(type(value), wanted) for value in get_args(produced))
    return _class_fits(produced, wanted)


def _class_fits(produced: Any, wanted: Any) -> bool:
    outer, inner = get_origin(produced) or produced, get_origin(wanted) or wanted
    if not isinstance(outer, type) or not isinstance(inner, type):
        return False
    if issubclass(outer, int) and inner is float:
        return True
    if not issubclass(outer, inner):
        return False
    given, asked = get_args(produced), get_args(wanted)
    if not given or not asked:
        return True
    if outer is tuple and inner is tuple:
        return _tuple_fits(given, asked)
    return len(given) != len(asked) or all(map(fits, given, asked))


def _tuple_fits(given: tuple[Any, ...], asked: tuple[Any, ...]) -> bool:
    if asked[-1] is ...:
        return all(fits(item, asked[0]) for item in given if item is not ...)
    return given[-1] is not ... and len(given) == len(asked) and all(map(fits, given, asked))


def _plain(annotation: Any) -> Any:
    """Without Annotated, NewType and type aliases, which say nothing about the JSON."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation if annotation is not None else type(None)
