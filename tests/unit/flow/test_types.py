"""Which types fit which, and which can be records."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NewType

import pytest
from pydantic import BaseModel, Field

from streams.flow import Drop
from streams.flow.types import fits, not_a_record, type_name, without


class Animal(BaseModel):
    name: str


class Dog(Animal):
    good: bool


Id = NewType("Id", str)


@pytest.mark.parametrize(
    ("produced", "wanted"),
    [
        (int, int),
        (int, float),
        (bool, int),
        (Dog, Animal),
        (Dog, Any),
        (Any, Dog),
        (Dog, object),
        (int, int | str),
        (int | str, str | int | None),
        (int | bool, float),
        (list[Dog], list[Animal]),
        (list[int], list),
        (dict[str, list[int]], dict[str, list[float]]),
        (tuple[int, int], tuple[float, ...]),
        (tuple[int, ...], tuple[float, ...]),
        (Literal["a"], str),
        (Literal["a"], Literal["a", "b"]),
        (Annotated[int, Field(ge=0)], int),
        (int, Annotated[int, Field(ge=0)]),
        (Id, str),
        (None, str | None),
    ],
)
def test_fits(produced: Any, wanted: Any) -> None:
    assert fits(produced, wanted)


@pytest.mark.parametrize(
    ("produced", "wanted"),
    [
        (float, int),
        (str, int),
        (Animal, Dog),
        (int | str, int),
        (str | None, str),
        (list[Animal], list[Dog]),
        (list[int], dict[str, int]),
        (dict[str, float], dict[str, int]),
        (tuple[int, ...], tuple[int, int]),
        (tuple[int], tuple[int, int]),
        (Literal["a", "b"], Literal["a"]),
        (Literal[1], str),
        (str, Literal["a"]),
        (object, Dog),
    ],
)
def test_does_not_fit(produced: Any, wanted: Any) -> None:
    assert not fits(produced, wanted)


@pytest.mark.parametrize("annotation", [Dog, str, float, bool, list[Dog], dict[str, int], Dog | None, Any])
def test_records(annotation: Any) -> None:
    assert not_a_record(annotation) is None


@pytest.mark.parametrize("annotation", [pytest.Item, type(print), list[pytest.Item], Drop | pytest.Item])
def test_no_records(annotation: Any) -> None:
    assert not_a_record(annotation)


def test_without() -> None:
    assert without(Dog | Drop, Drop) == (Dog, True)
    assert without(int | str | Drop, Drop) == (int | str, True)
    assert without(Dog, Drop) == (Dog, False)


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (Dog, "Dog"),
        (list[Dog | None], "list[Dog | None]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Literal["a"], "Literal['a']"),
        (Annotated[int, Field(ge=0)], "int"),
        (Any, "Any"),
    ],
)
def test_names(annotation: Any, name: str) -> None:
    assert type_name(annotation) == name
