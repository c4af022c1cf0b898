"""Which statistics of a client mean that it has given its cluster up; states and ages as they were recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streams.errors import LostContactError
from streams.runtime.contact import check_contact


def broker(source: str, state: str, seconds: float) -> dict[str, Any]:
    return {"source": source, "state": state, "stateage": int(seconds * 1e6)}


COORDINATOR = broker("logical", "TRY_CONNECT", 31.7)


def statistics(*brokers: dict[str, Any]) -> str:
    return json.dumps({"brokers": {str(number): each for number, each in enumerate(brokers)}})


@pytest.mark.parametrize(
    "brokers",
    [
        pytest.param((broker("learned", "INIT", 31.7), COORDINATOR), id="its only broker was said not to be there"),
        pytest.param((COORDINATOR,), id="nobody left to ask"),
    ],
)
def test_a_client_that_does_not_try_has_lost_contact(brokers: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(LostContactError) as caught:
        check_contact(statistics(*brokers))
    assert caught.value.code == "broker.contact"


@pytest.mark.parametrize(
    "brokers",
    [
        pytest.param((broker("learned", "UP", 31.0), broker("logical", "UP", 31.2)), id="connected"),
        pytest.param((broker("configured", "INIT", 0.6), broker("logical", "INIT", 35.1)), id="refused each second"),
        pytest.param((broker("configured", "TRY_CONNECT", 29.0), COORDINATOR), id="connecting, slowly"),
        pytest.param((broker("learned", "INIT", 500.0), broker("learned", "UP", 3.0)), id="one of two is not needed"),
        pytest.param((broker("learned", "INIT", 4.0), COORDINATOR), id="not for long"),
    ],
)
def test_a_client_that_is_connected_or_tries_has_not(brokers: tuple[dict[str, Any], ...]) -> None:
    check_contact(statistics(*brokers))
