"""Which statistics of a client mean that it has given its cluster up; states and ages as they were recorded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import LostContactError
from streams.runtime import contact
from streams.runtime.contact import check_contact, while_in_contact


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


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(contact, "ANSWERED_SECONDS", 0.05)


async def answers() -> None:
    """Another client is told something."""


async def away() -> None:
    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


async def test_a_call_that_returns_gives_what_it_gives(soon: None) -> None:
    assert await while_in_contact(asyncio.sleep(0.03, "done"), answers) == "done"


async def test_a_call_that_never_returns_though_brokers_answer_has_lost_contact(soon: None) -> None:
    never = asyncio.get_running_loop().create_future()
    with pytest.raises(LostContactError):
        await while_in_contact(never, answers)
    assert never.cancelled()


@pytest.mark.parametrize("asked", [away, asyncio.Event().wait], ids=["brokers are away", "or say nothing"])
async def test_while_nobody_is_answered_it_is_waited_for(soon: None, asked: Any) -> None:
    assert await while_in_contact(asyncio.sleep(0.3, "done"), asked) == "done"
