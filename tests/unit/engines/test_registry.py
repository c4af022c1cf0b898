"""Engines by name: what a user is told when one cannot be had."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from streams.errors import ConfigError
from workers.engines import registry
from workers.engines.default_model import MODEL_NOTICE
from workers.engines.registry import create_engine, engines
from workers.engines.vllm import VllmEngine
from workers.settings import VllmSettings


def test_all_four_are_registered() -> None:
    assert {"llamacpp", "openai", "simulated", "vllm"} <= set(engines())


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'ollama'.*llamacpp.*vllm") as refused:
        create_engine("ollama")
    assert refused.value.code == "config.engine_unknown"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, "workers.engines.openai", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'descant\[openai\]'") as refused:
        create_engine("openai")
    assert refused.value.code == "config.engine_missing"


def test_another_failed_import_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_module_at_all:create", registry.GROUP)
    monkeypatch.setattr(registry, "engines", lambda: {"broken": broken})
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        create_engine("broken")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"paralel": 3}, "paralel"),
        ({"parallel": 0}, "parallel"),
        ({"parallel": True}, "parallel"),
        ({"speed": float("nan")}, "speed"),
        ({"speed": float("inf")}, "speed"),
    ],
)
def test_a_refused_setting_is_named(settings: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError, match=f"'simulated': {field}"):
        create_engine("simulated", settings)


def test_a_key_is_never_shown() -> None:
    with pytest.raises(ConfigError) as refused:
        create_engine("openai", {"api_key": ["sk-secret"]})
    assert "sk-secret" not in str(refused.value)


def test_settings_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCANT_SIMULATED_MODEL", "from-environment")
    monkeypatch.setenv("DESCANT_SIMULATED_PARALLEL", "7")
    engine = create_engine("simulated", {"model": "from-flag"})
    assert (engine.model, engine.max_parallel) == ("from-flag", 7)


def test_the_licence_of_the_default_model_is_named() -> None:
    assert "Gemma Terms of Use" in MODEL_NOTICE
    assert VllmEngine(VllmSettings()).notice == MODEL_NOTICE
    assert not VllmEngine(VllmSettings(path="a-model-of-mine")).notice
