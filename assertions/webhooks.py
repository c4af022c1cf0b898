"""Flags to a web server: signed, retried, and dead-lettered when it will not have them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Final

import httpx
import structlog
from confluent_kafka import Producer
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_delay, wait_random_exponential

from assertions.core.flag import Flag
from assertions.errors import AssertionSetupError
from assertions.processor.topics import DEAD_LETTERS
from assertions.subscription import Alerts
from streams.errors import BrokerError
from streams.settings import KafkaSettings

SIGNATURE_HEADER: Final = "X-Descant-Signature"
# Beyond this a receiver should refuse a signature: a recorded request cannot be sent again later.
SIGNATURE_SECONDS_MAX: Final = 300

log = structlog.get_logger(__name__)


class _TryAgainError(Exception):
    """The server is away, or asks for time."""


@dataclass(frozen=True, slots=True)
class Webhook:
    url: str
    secret: bytes
    answer_seconds: float = 10.0
    retry_seconds: float = 120.0
    """How long a flag is tried before it goes to the dead letters; the flags behind it wait meanwhile."""

    def __post_init__(self) -> None:
        """Raises AssertionSetupError for what is no address of a web server."""
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in ("http", "https") or not url.host:
            raise AssertionSetupError(f"a webhook's address is http:// or https:// and a host, not {self.url!r}.")

    @property
    def name(self) -> str:
        """Of its place among the flags, where it is given no other."""
        return f"webhook-{hashlib.sha256(self.url.encode()).hexdigest()[:12]}"


def sign(secret: bytes, body: bytes, at: int) -> str:
    """The header's value: "t=<unix seconds>,v1=<hex HMAC-SHA256 of '<t>.<body>'>"."""
    mac = hmac.new(secret, b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mac}"


def verify(secret: bytes, body: bytes, signature: str, now: float) -> bool:
    """For receivers: is this from us, and not older than SIGNATURE_SECONDS_MAX?"""
    stated = signature.partition(",")[0].removeprefix("t=")
    if not stated.isdecimal() or abs(now - int(stated)) > SIGNATURE_SECONDS_MAX:
        return False
    # As bytes: of a text that is not ASCII the comparison would raise, and the sender chooses that text.
    return hmac.compare_digest(sign(secret, body, int(stated)).encode(), signature.encode(errors="replace"))


async def deliver(subscription: Alerts, webhook: Webhook, kafka: KafkaSettings) -> None:
    """Post each alert, in order, for ever. A resumed subscription makes it go on where it stopped.

    2xx: delivered. 408, 425, 429, 5xx and no answer: tried again with growing pauses. Anything else, or too long: the
    flag goes to `assertions.dead-letters` with the reason, and the next one is posted.
    """
    producer = Producer({**kafka.client(), "enable.idempotence": True, "partitioner": "murmur2_random"})
    async with httpx.AsyncClient(timeout=webhook.answer_seconds) as client:
        async for flag in subscription:
            reason = await _post(client, webhook, flag)
            if reason is not None:
                log.warning("webhook refused a flag", flag=flag.id, reason=reason)
                headers: list[tuple[str, str | bytes | None]] = [
                    ("reason", reason.encode()),
                    ("url", webhook.url.encode()),
                ]
                producer.produce(DEAD_LETTERS, flag.to_bytes(), flag.subject, headers=headers)
                if producer.flush(10):
                    raise BrokerError(f"{DEAD_LETTERS} does not take records; is Kafka up?")


async def _post(client: httpx.AsyncClient, webhook: Webhook, flag: Flag) -> str | None:
    """None, or why it was not delivered."""
    body = flag.to_bytes()
    try:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(_TryAgainError),
            stop=stop_after_delay(webhook.retry_seconds),
            wait=wait_random_exponential(multiplier=0.2, max=15),
        ):
            with attempt:
                return await _post_once(client, webhook, body)
    except RetryError as error:
        last = error.last_attempt.exception()
        return f"gave up after {webhook.retry_seconds:g} s: {last}"
    return None


async def _post_once(client: httpx.AsyncClient, webhook: Webhook, body: bytes) -> str | None:
    headers = {
        "Content-Type": "application/cloudevents+json",
        SIGNATURE_HEADER: sign(webhook.secret, body, int(time.time())),
    }
    try:
        # The whole of it: a server that sends a byte now and then would otherwise hold up all flags for ever. What it
        # has to say beside the status is not read.
        async with (
            asyncio.timeout(webhook.answer_seconds),
            client.stream("POST", webhook.url, content=body, headers=headers) as answer,
        ):
            pass
    except (httpx.TransportError, TimeoutError) as error:
        raise _TryAgainError(type(error).__name__) from error
    if answer.is_success:
        return None
    if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
        raise _TryAgainError(f"status {answer.status_code}")
    return f"status {answer.status_code}"
