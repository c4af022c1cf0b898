"""Whether a client still looks for its cluster.

librdkafka (2.13 to 2.16) can forget a cluster for good (its issue 5301). A broker that was held up for longer than its
session answers, until it is registered again, that there are no brokers. Where it is the only one, its clients have
nobody left to ask, and many of them never ask `bootstrap.servers` again. Nothing is reported: polls give nothing, and a
commit that is under way never returns. What shows it are the statistics, which come with polls: a client without a
connection tries to make one each second, and such a client does not. Where a commit keeps it from being polled, another
client's answers show it.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaException

from streams.errors import LostContactError

T = TypeVar("T")

LOOK_SECONDS: Final = 3.0

SILENT_SECONDS: Final = 12.0
"""Without a connection, nor a try. The longest pause between two tries of a client is 10 s, and counts as a try."""

_JSON: Final = json.JSONDecoder()

ANSWERED_SECONDS: Final = 20.0
"""A client that still looks for its cluster has found it by then: it tries every ten seconds at least."""

NOT_TRYING: Final = "INIT"


def check_contact(statistics: str) -> None:
    """A client's `stats_cb`, which it calls inside its polls. Raises LostContactError, from the poll."""
    # Of the whole, which has a kilobyte for each partition, only what is needed is read.
    begin = statistics.index("{", statistics.index('"brokers":'))
    brokers, _ = _JSON.raw_decode(statistics, begin)
    known = [broker for broker in brokers.values() if broker["source"] in ("learned", "configured")]
    if all(b["state"] == NOT_TRYING and b["stateage"] >= SILENT_SECONDS * 1e6 for b in known):
        raise LostContactError("a Kafka client has lost its brokers and no longer looks for them")


WATCHED: Final[dict[str, Any]] = {"statistics.interval.ms": int(LOOK_SECONDS * 1000), "stats_cb": check_contact}
"""For clients that are polled all the time: statistics wait for a poll, and pile up without."""


async def while_in_contact(call: Awaitable[T], asked: Callable[[], Awaitable[object]]) -> T:
    """What `call` gives, which a client may never return from: a commit that is under way when contact is lost is tried
    again for ever, and its client is not polled meanwhile. `asked` asks the same broker by another client.

    Raises LostContactError: the broker has answered others for ANSWERED_SECONDS.
    """
    calling = asyncio.ensure_future(call)
    asking: asyncio.Future[object] | None = None
    answered_since: float | None = None
    try:
        while not (await asyncio.wait([calling], timeout=LOOK_SECONDS))[0]:
            if asking is None:
                asking = asyncio.ensure_future(asked())
            elif not asking.done() or isinstance(asking.exception(), KafkaException):
                answered_since = None
                asking = None if asking.done() else asking
            else:
                asking.result()
                asking = None
                answered_since = answered_since or time.monotonic()
                if time.monotonic() - answered_since >= ANSWERED_SECONDS:
                    raise LostContactError("a Kafka client does not come back from a commit, though brokers answer")
        return calling.result()
    finally:
        for future in (calling, asking):
            if future is not None:
                future.cancel()


def give_up(consumer: Consumer) -> None:
    """Close one that has lost contact, on a thread of its own: it may never return, nor may it be freed."""
    threading.Thread(target=consumer.close, name="lost consumer", daemon=True).start()
