"""Whether a client still looks for its cluster.

librdkafka (2.13 to 2.16) can forget a cluster for good (its issue 5301). A broker that was held up for longer than its
session answers, until it is registered again, that there are no brokers. Where it is the only one, its clients have
nobody left to ask, and many of them never ask `bootstrap.servers` again. Nothing is reported: polls give nothing, and
calls run into their time limits. What shows it are the statistics: a client without a connection tries to make one each
second, and such a client does not.
"""

from __future__ import annotations

import json
import threading
from typing import Any, Final

from confluent_kafka import Consumer

from streams.errors import LostContactError

LOOK_SECONDS: Final = 3.0

SILENT_SECONDS: Final = 12.0
"""Without a connection, nor a try. The longest pause between two tries of a client is 10 s, and counts as a try."""

_JSON: Final = json.JSONDecoder()

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


def give_up(consumer: Consumer) -> None:
    """Close one that has lost contact, on a thread of its own: it may never return, nor may it be freed."""
    threading.Thread(target=consumer.close, name="lost consumer", daemon=True).start()
