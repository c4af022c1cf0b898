"""Settings come from flags, then the environment, and are refused with the variable's name."""

import pytest

from streams.errors import ConfigError
from streams.settings import KafkaSettings, PipelineSettings


def test_numbers_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCANT_PARTITIONS", "12")
    assert PipelineSettings().partitions == 12
    assert PipelineSettings(partitions=3).partitions == 3


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", ""])
def test_what_is_no_count_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DESCANT_PARTITIONS", value)
    with pytest.raises(ConfigError, match="DESCANT_PARTITIONS") as raised:
        PipelineSettings()
    assert raised.value.code == "config.setting"


def test_a_password_is_passed_on_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCANT_KAFKA_SASL_USERNAME", "me")
    monkeypatch.setenv("DESCANT_KAFKA_SASL_PASSWORD", "hunter2")
    settings = KafkaSettings()
    assert settings.client()["sasl.password"] == "hunter2"
    assert "hunter2" not in repr(settings)
