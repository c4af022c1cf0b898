"""Engines by name: ours and those of other packages, through the entry point group `descant.engines`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol, cast

from pydantic import ValidationError

from streams.errors import ConfigError
from workers.engines.protocol import Engine

GROUP: Final = "descant.engines"

# What an extra of the same name brings. An import that fails on anything else is a fault, and is shown as one.
_EXTRAS: Final[Mapping[str, frozenset[str]]] = {
    "llamacpp": frozenset({"xllamacpp", "httpx"}),
    "openai": frozenset({"httpx"}),
    "vllm": frozenset({"vllm", "torch", "gguf", "safetensors", "tokenizers"}),
}


class EngineFactory(Protocol):
    """Makes an engine that is not started from settings by name; refuses what it does not know (pydantic)."""

    def __call__(self, settings: Mapping[str, object], /) -> Engine: ...


def engines() -> dict[str, EntryPoint]:
    """Every registered engine by name; nothing is imported. Of two with one name, the last one found counts."""
    return {found.name: found for found in sorted(entry_points(group=GROUP), key=lambda found: found.name)}


def create_engine(name: str, settings: Mapping[str, object] | None = None) -> Engine:
    """The engine of that name, not started.

    settings   by field, over the environment, over the defaults (workers.settings)
    Raises     `ConfigError`: no such engine, its extra is not installed, a setting that it refuses.
    """
    known = engines()
    if name not in known:
        raise ConfigError(f"there is no engine {name!r}; there are {', '.join(known)}.", code="config.engine_unknown")
    try:
        return cast("EngineFactory", known[name].load())(settings or {})
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRAS.get(name, ()):
            raise
        raise ConfigError(
            f"the engine {name!r} needs {missing.name}: pip install 'descant[{name}]'.", code="config.engine_missing"
        ) from missing
    except ValidationError as refused:
        raise ConfigError(f"settings of the engine {name!r}: {_reasons(refused)}", code="config.engine") from None


def _reasons(refused: ValidationError) -> str:
    errors = refused.errors(include_input=False, include_url=False, include_context=False)  # an input may be a key
    return "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors)
