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

    Raises AssertionSetupError for a module that is not there or no Python, or that needs a package that is not
    installed; another error inside one comes through as it is.
    """
    for offered in entry_points(group=ENTRY_POINTS):
        offered.load()
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found: list[Any] = []
    for given in modules:
        name = given.partition(":")[0].removesuffix(".py")
        try:
            found.append(importlib.import_module(name))
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise AssertionSetupError(
                    f"module {name!r} needs the Python package {error.name!r}, which is not installed."
                ) from error
            raise AssertionSetupError(f"there is no module {name!r} in {here} or installed.") from None
        except SyntaxError as error:
            raise AssertionSetupError(f"module {name!r} is no Python: {error}.") from error
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
