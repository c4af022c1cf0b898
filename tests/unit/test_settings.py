"""Settings as containers give them: by the environment, as text."""

import pytest

from streams.errors import ConfigError
from streams.settings import PipelineSettings


def test_numbers_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCANT_PARTITIONS", "12")
    monkeypatch.setenv("DESCANT_DEADLINE_SECONDS", "2.5")
    settings = PipelineSettings()
    assert (settings.partitions, settings.deadline_seconds) == (12, 2.5)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "true", "many", ""])
def test_what_is_no_count_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DESCANT_PARTITIONS", text)
    with pytest.raises(ConfigError, match="DESCANT_PARTITIONS"):
        PipelineSettings()


def test_true_is_not_one() -> None:
    with pytest.raises(ConfigError, match="not true or false"):
        PipelineSettings(partitions=True)
