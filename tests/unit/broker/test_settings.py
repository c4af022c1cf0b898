"""One table of broker settings, in the two spellings in which it is used."""

import pytest

from streams.broker import BROKER_SETTINGS, container_environment
from streams.broker.settings import as_properties, environment_name, server_properties


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("log.dirs", "KAFKA_LOG_DIRS"),
        ("transaction.state.log.min.isr", "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"),
    ],
)
def test_environment_names(setting: str, name: str) -> None:
    assert environment_name(setting) == name


def test_child_and_container_share_every_setting() -> None:
    child = server_properties(broker_port=1, controller_port=2, data="/d")
    container = container_environment(host_port=3)
    for setting, value in BROKER_SETTINGS.items():
        assert child[setting] == value
        assert container[environment_name(setting)] == value


def test_a_killed_instance_is_replaced_within_ten_seconds() -> None:
    timeout = int(BROKER_SETTINGS["group.consumer.session.timeout.ms"])
    assert int(BROKER_SETTINGS["group.consumer.min.session.timeout.ms"]) <= timeout < 10_000
    # A group may miss more than one heartbeat before it is thrown out.
    assert timeout >= 3 * int(BROKER_SETTINGS["group.consumer.heartbeat.interval.ms"])


def test_a_path_with_a_backslash_survives_the_properties_file() -> None:
    assert as_properties({"log.dirs": "/a\\b"}) == "log.dirs=/a\\\\b\n"
