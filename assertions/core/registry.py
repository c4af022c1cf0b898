"""Where assertions are found by name."""

from __future__ import annotations

from collections.abc import Iterator

from assertions.core.definition import Assertion
from assertions.errors import AssertionSetupError, DuplicateAssertionError


class Registry:
    """Assertions by name. A module's decorators fill REGISTRY when it is imported; tests make their own."""

    def __init__(self) -> None:
        self._by_name: dict[str, Assertion] = {}

    def add(self, assertion: Assertion) -> None:
        """Raises DuplicateAssertionError if the name is taken by another assertion."""
        there = self._by_name.get(assertion.name)
        if there is not None and there is not assertion:
            raise DuplicateAssertionError(assertion.name, there.function.__module__)
        self._by_name[assertion.name] = assertion

    def remove(self, name: str) -> None:
        self._by_name.pop(name, None)

    def __getitem__(self, name: str) -> Assertion:
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(sorted(self._by_name)) or "none; import the module that defines it first"
            raise AssertionSetupError(f"no assertion is called {name!r}. Known: {known}.") from None

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Assertion]:
        return iter(sorted(self._by_name.values(), key=lambda each: each.name))

    def __len__(self) -> int:
        return len(self._by_name)


REGISTRY = Registry()
