"""One registry of selectors: whoever registers one under `descant.selectors` is listed, compared and
tested."""

from __future__ import annotations

from importlib.metadata import entry_points

from learning.errors import SelectionError, UnknownNameError
from learning.select.strategy import Selector

GROUP = "descant.selectors"
DEFAULT = "error-seeking"


def names() -> tuple[str, ...]:
    """Registered names, sorted; one whose package is not installed is among them, and says so when it is
    asked for."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def selector(name: str = DEFAULT) -> Selector:
    """The selector of that name. Raises UnknownNameError; SelectionError where it needs a package that is not
    there."""
    found = [point for point in entry_points(group=GROUP) if point.name == name]
    if not found:
        raise UnknownNameError(f"no selector is called {name!r}. Registered: {', '.join(names())}.")
    try:
        made = found[0].load()()
    except ImportError as missing:
        raise SelectionError(
            f"selector {name!r} needs package {missing.name!r}. Install it and try again."
        ) from missing
    if not isinstance(made, Selector):
        raise SelectionError(f"entry point {found[0].value!r} made something without choose and learn.")
    return made
