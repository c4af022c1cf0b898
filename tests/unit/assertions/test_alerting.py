"""Which flags are delivered, how often, and that a web server can trust them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from assertions import Flag, FlagState, Observation, Registry, assertion, consistency, evaluate
from assertions.core.alerting import AlertFilter, Sieve
from assertions.errors import AssertionSetupError
from assertions.webhooks import SIGNATURE_HEADER, Webhook, _post, sign, verify

SECRET = b"a secret"


def flags(count: int, name: str = "a") -> tuple[Flag, ...]:
    registry = Registry()
    assertion(on="p.s", name=name, tags=["facts"], registry=registry)(lambda v: v)
    return evaluate(
        registry,
        [
            Observation(pipeline="p", stages=("s",), values=((n + 1) / 10,), serial=f"0:{n}", path="", time=float(n))
            for n in range(count)
        ],
    ).flags


def in_state(flag: Flag, state: FlagState) -> Flag:
    return flag.model_copy(update={"data": flag.data.model_copy(update={"state": state})})


def test_filters() -> None:
    (low, high) = flags(2)
    assert Sieve(AlertFilter(assertion="a", pipeline="p", min_severity=0.2, tag="facts")).take(high, 0)
    for refuses in (
        AlertFilter(assertion="b"),
        AlertFilter(pipeline="q"),
        AlertFilter(min_severity=0.2),
        AlertFilter(tag="x"),
    ):
        assert not Sieve(refuses).take(low, 0)


def test_a_flag_is_delivered_once_and_its_withdrawal_after_it() -> None:
    (flag,) = flags(1)
    sieve = Sieve(AlertFilter())
    early = in_state(flag, FlagState.PROVISIONAL)
    withdrawn = in_state(flag, FlagState.WITHDRAWN)
    assert not sieve.take(withdrawn, 0), "of a flag that was never delivered"
    assert sieve.take(early, 0)
    assert not sieve.take(flag, 1)
    assert sieve.held_back.repeated == {"a": 1}
    assert sieve.take(withdrawn, 2)
    assert not sieve.take(withdrawn, 3)


def test_provisional_flags_can_be_left_out() -> None:
    (flag,) = flags(1)
    sieve = Sieve(AlertFilter(standing_only=True))
    assert not sieve.take(in_state(flag, FlagState.PROVISIONAL), 0)
    assert sieve.take(flag, 1)


def test_the_rate_of_an_assertion_is_limited_and_the_rest_counted() -> None:
    sieve = Sieve(AlertFilter(), per_minute=3)
    assert [bool(sieve.take(flag, 0.0)) for flag in flags(5)] == [True, True, True, False, False]
    assert sieve.held_back.limited == {"a": 2}
    assert sieve.take(flags(1, name="b")[0], 0.0), "another assertion has its own rate"
    assert sieve.take(flags(6)[5], 20.0)


def test_a_flag_that_is_held_back_is_counted_once_whatever_becomes_of_it() -> None:
    sieve = Sieve(AlertFilter(), per_minute=1)
    first, second = flags(2)
    assert sieve.take(in_state(first, FlagState.PROVISIONAL), 0)
    for state in (FlagState.PROVISIONAL, FlagState.STANDING):
        assert not sieve.take(in_state(second, state), 1)
    assert sum(sieve.held_back.limited.values()) == 1


def test_a_signature_is_bound_to_body_secret_and_time() -> None:
    signature = sign(SECRET, b"body", 1_000)
    assert verify(SECRET, b"body", signature, 1_010.0)
    assert not verify(SECRET, b"other", signature, 1_010.0)
    assert not verify(b"wrong", b"body", signature, 1_010.0)
    assert not verify(SECRET, b"body", signature, 10_000.0)
    for nonsense in ("nonsense", "", "t=1000", "t=1000,v1=é", "t=٣,v1=", "t=1000,v1=" + "0" * 64, f"{signature},v1=x"):
        assert not verify(SECRET, b"body", nonsense, 1_010.0)


@contextmanager
def server(*statuses: int) -> Iterator[tuple[str, list[tuple[bytes, str]]]]:
    """Answers with these in turn, then 200."""
    waiting = list(statuses)
    received: list[tuple[bytes, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((body, self.headers[SIGNATURE_HEADER]))
            self.send_response(waiting.pop(0) if waiting else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    running = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/flags", received
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


async def test_a_webhook_is_tried_again_until_it_is_taken() -> None:
    (flag,) = flags(1)
    with server(503, 429) as (url, received):
        async with httpx.AsyncClient() as client:
            assert await _post(client, Webhook(url, SECRET, retry_seconds=20), flag) is None
    assert len(received) == 3
    body, signature = received[-1]
    assert Flag.from_bytes(body) == flag
    assert verify(SECRET, body, signature, int(signature.partition(",")[0][2:]))


async def test_a_webhook_that_refuses_or_is_away_says_why() -> None:
    (flag,) = flags(1)
    with server(400) as (url, received):
        async with httpx.AsyncClient() as client:
            assert await _post(client, Webhook(url, SECRET), flag) == "status 400"
    assert len(received) == 1
    async with httpx.AsyncClient() as client:
        reason = await _post(client, Webhook(url, SECRET, retry_seconds=0.3), flag)
    assert reason is not None
    assert reason.startswith("gave up")


async def test_a_webhook_that_never_comes_to_an_end_is_left_and_one_that_says_much_is_not_read() -> None:
    (flag,) = flags(1)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.05)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 100_000)
                await writer.drain()

    for serve, reason in ((drip, "gave up after 0.5 s"), (flood, None)):
        running = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = running.sockets[0].getsockname()[1]
        webhook = Webhook(f"http://127.0.0.1:{port}/", SECRET, answer_seconds=0.3, retry_seconds=0.5)
        async with httpx.AsyncClient() as client, asyncio.timeout(10):
            said = await _post(client, webhook, flag)
        assert (said is None) == (reason is None), said
        assert said is None or said.startswith(reason or "")
        running.close()


@pytest.mark.parametrize("url", ["", "flags", "ftp://host/", "http://", "https:///path", "http://[::1"])
def test_what_is_no_address_of_a_server_is_refused_at_once(url: str) -> None:
    with pytest.raises(AssertionSetupError):
        Webhook(url, SECRET)


def disagreement(*capitals: str) -> dict[str, Flag]:
    """What each of these says of one country is flagged where it disagrees: serial → flag."""
    registry = Registry()
    consistency(on="p.s", name="says", id=lambda v: "Bolivia", attrs=lambda v: {"capital": v}, registry=registry)
    found = evaluate(
        registry,
        [
            Observation(pipeline="p", stages=("s",), values=(capital,), serial=f"0:{n}", path="", time=float(n))
            for n, capital in enumerate(capitals)
        ],
    ).flags
    return {flag.data.lineage.serial: in_state(flag, FlagState.PROVISIONAL) for flag in found}


def test_two_answers_that_disagree_are_two_flags_and_one_alert_that_names_both() -> None:
    sides = disagreement("La Paz", "Sucre")
    assert set(sides) == {"0:0", "0:1"}
    sieve = Sieve(AlertFilter())
    (alert,) = [shown for flag in sides.values() for shown in sieve.take(flag, 0)]
    assert "La Paz" in alert.data.why
    assert "Sucre" in alert.data.why
    assert sieve.held_back.named == {"says": 1}
    assert sieve.take(in_state(sides["0:1"], FlagState.STANDING), 1) == ()
    assert sieve.held_back.named == {"says": 1}, "another state of the same flag"


def test_a_third_answer_that_no_alert_has_named_is_an_alert() -> None:
    two, three = disagreement("La Paz", "Sucre"), disagreement("La Paz", "Sucre", "Oruro")
    sieve = Sieve(AlertFilter())
    shown = [each for flag in (two["0:0"], two["0:1"], three["0:2"]) for each in sieve.take(flag, 0)]
    assert [flag.data.lineage.serial for flag in shown] == ["0:0", "0:2"]


def test_the_other_side_comes_forward_when_the_alert_is_withdrawn() -> None:
    sides = disagreement("La Paz", "Sucre")
    sieve = Sieve(AlertFilter())
    assert sieve.take(sides["0:0"], 0) == (sides["0:0"],)
    assert sieve.take(sides["0:1"], 0) == ()
    # A third answer agrees with the first: the majority has spoken, and only the second still disagrees.
    gone = in_state(sides["0:0"], FlagState.WITHDRAWN)
    assert sieve.take(gone, 1) == (gone, sides["0:1"])
    assert sieve.take(in_state(sides["0:1"], FlagState.WITHDRAWN), 2) != ()


def test_a_side_that_is_withdrawn_while_it_is_held_back_does_not_come_forward() -> None:
    sides = disagreement("La Paz", "Sucre")
    sieve = Sieve(AlertFilter())
    sieve.take(sides["0:0"], 0)
    sieve.take(sides["0:1"], 0)
    assert sieve.take(in_state(sides["0:1"], FlagState.WITHDRAWN), 1) == ()
    gone = in_state(sides["0:0"], FlagState.WITHDRAWN)
    assert sieve.take(gone, 2) == (gone,)
