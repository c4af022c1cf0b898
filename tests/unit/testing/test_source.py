"""Where a test run's Kafka comes from, as far as that can be said without one."""

from pathlib import Path

import pytest

from streams.errors import ConfigError
from streams.testing import kafka_for_tests


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)


def test_a_named_kafka_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("DESCANT_TEST_KAFKA", "docker")
    with kafka_for_tests() as kafka:
        assert (kafka.bootstrap, kafka.source) == ("127.0.0.1:1", "named")


def test_a_source_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESCANT_TEST_KAFKA", "podman")
    with pytest.raises(ConfigError, match=r"'podman'\. Set it to auto, embedded or docker"), kafka_for_tests():
        pass


def test_docker_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DESCANT_TEST_KAFKA", "docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(ConfigError, match="Start Docker, or install Java 17") as caught, kafka_for_tests():
        pass
    assert caught.value.code == "testing.docker"


def test_auto_without_java_asks_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DESCANT_TEST_KAFKA", raising=False)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(ConfigError, match="Docker cannot start"), kafka_for_tests():
        pass
