"""The commands that are installed, and what each is for, without importing any of them."""

import ast
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from streams.errors import ConfigError

GROUP = "descant.commands"


def installed() -> dict[str, EntryPoint]:
    """Every command by name, sorted; where two distributions give one name, the first found on the path counts."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        found.setdefault(entry.name, entry)
    return found


def summary(entry: EntryPoint) -> str:
    """One line on what the command does, read from its source and not by running it; empty if there is none."""
    spec = _find(entry.module)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return ""
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except (OSError, SyntaxError):
        return ""
    functions = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == entry.attr
    ]
    said = next((doc for doc in map(ast.get_docstring, functions) if doc), None) or ast.get_docstring(tree) or ""
    return said.partition("\n")[0].strip()


def load(entry: EntryPoint) -> object:
    """Import the command. Raises ConfigError if a package is missing that it needs, or if its module is not there."""
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        missing = error.name or str(error)
        if missing == entry.module or entry.module.startswith(missing + "."):
            raise ConfigError(
                f"the command {entry.name!r} is in {entry.module}, which is not installed. Examples are in a clone of "
                f"the repository only, as is `make demo`; anything else comes with its distribution{_from(entry)}.",
                code="cli.command_missing",
            ) from error
        raise ConfigError(
            f"the command {entry.name!r} needs the Python package {missing!r}, which is not installed. "
            f"Install the extra that brings it (assertions, console, kubernetes, learning, or an engine's): "
            "pip install 'descant[...]'.",
            code="cli.extra_missing",
        ) from error
    except AttributeError as error:
        raise ConfigError(
            f"the command {entry.name!r} should be {entry.value}, which is not there. "
            f"Install its distribution{_from(entry)} again.",
            code="cli.command_missing",
        ) from error


def _from(entry: EntryPoint) -> str:
    return f" ({entry.dist.name})" if entry.dist else ""


def _find(module: str) -> ModuleSpec | None:
    """Where a module is. `importlib.util.find_spec` would import the packages above it, which is what costs."""
    within: Iterable[str] | None = None
    spec: ModuleSpec | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        search = None if within is None else list(within)
        found = (finder.find_spec(name, search) for finder in sys.meta_path)
        spec = next((candidate for candidate in found if candidate is not None), None)
        if spec is None:
            return None
        within = spec.submodule_search_locations or ()
    return spec
