"""Finding assertions: modules named by the user, and installed packages that offer some."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from assertions.core.definition import Assertion
from assertions.core.registry import REGISTRY
from assertions.errors import AssertionSetupError
from streams.core.plan import Plan
from streams.flow import Pipeline

ENTRY_POINTS: Final = "descant.assertions"
"""Of installed packages: name -> module whose import registers assertions."""


def load(modules: Iterable[str]) -> tuple[list[Assertion], list[Plan]]:
    """Import what is named and what is installed; the assertions, and the plans of the pipelines that they watch.

    Raises AssertionSetupError for a module that is not there; an error inside one comes through as it is.
    """
    for offered in entry_points(group=ENTRY_POINTS):
        offered.load()
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found: list[Any] = []
    for name in modules:
        try:
            found.append(importlib.import_module(name.partition(":")[0]))
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise AssertionSetupError(f"there is no module {name!r} in {here} or installed.") from None
    watched = {assertion.pipeline for assertion in REGISTRY}
    plans: dict[str, Plan] = {}
    for module in [*found, *_modules_of(REGISTRY)]:
        for value in vars(module).values():
            if isinstance(value, Pipeline) and value.name in watched and value.name not in plans:
                plans[value.name] = value.plan
    return list(REGISTRY), list(plans.values())


def _modules_of(assertions: Iterable[Assertion]) -> list[Any]:
    names = {assertion.function.__module__ for assertion in assertions}
    return [sys.modules[name] for name in sorted(names) if name in sys.modules]
