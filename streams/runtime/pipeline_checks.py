"""What a pipeline's partitions, clocks and records tell `descant doctor`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without saying so

from streams.core.plan import REQUEST, Plan
from streams.errors import BrokerError
from streams.runtime.cluster_checks import Finding
from streams.runtime.consumer import headers_of
from streams.runtime.offsets import OffsetLookup
from streams.runtime.topics import WORKERS_STATE, answers_topic, control_topic
from streams.settings import KafkaSettings

SECONDS_MAX: Final = 15.0

LISTEN_SECONDS: Final = 1.5
"""For what workers say: they speak twice a second at least."""

SKEW_SECONDS: Final = 0.5
"""Routers take a worker that is silent for a second for dead; deadlines are set by one clock and judged by another."""

OPEN_SECONDS: Final = 20.0
"""A transaction has ended by then: brokers abort it after five seconds, and look for such every ten at the latest."""

LOOK_SECONDS: Final = 0.2

SYNCHRONISE: Final = "Synchronise the clocks of all machines (chrony, systemd-timesyncd)."


def check_partitions(kafka: KafkaSettings, topics: Sequence[str]) -> Iterator[Finding]:
    """Leaders and replicas. Raises BrokerError when no broker answers."""
    try:
        known = AdminClient(kafka.client()).list_topics(timeout=SECONDS_MAX).topics
    except KafkaException as error:
        raise BrokerError(f"cannot look at the partitions of {kafka.bootstrap}: {error.args[0].str()}") from None
    places = [(name, p) for name in topics if name in known for p in known[name].partitions.values()]
    headless = sorted({name for name, p in places if p.leader < 0})
    behind = sorted({name for name, p in places if len(p.isrs) < len(p.replicas)})
    if headless:
        yield Finding(
            "leaders",
            "problem",
            f"partitions of {', '.join(headless)} have no leader: nothing can be read or written there",
            "Bring the brokers that hold them back.",
        )
    if behind:
        yield Finding(
            "replicas",
            "warning",
            f"replicas of {', '.join(behind)} lag behind their leaders",
            "Look for brokers that are down, slow, or out of disk.",
        )
    if not headless and not behind:
        yield Finding("replicas", "ok", f"all {len(places)} partitions have their leader and replicas")


def check_clocks(kafka: KafkaSettings, topics: Sequence[str]) -> Iterator[Finding]:
    """This machine's clock against what workers say as they say it, and against the brokers' newest append times."""
    skews = {worker: said - heard for worker, (said, heard) in _heard(kafka).items()}
    wrong = {worker: skew for worker, skew in skews.items() if abs(skew) > SKEW_SECONDS}
    for worker, skew in sorted(wrong.items()):
        yield Finding(
            f"clock of {worker}",
            "problem",
            f"it is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's: its state reads as "
            f"{'news from the future' if skew > 0 else 'old news'}, and routers misjudge it",
            SYNCHRONISE,
        )
    ahead = _newest(kafka, topics) - time.time()
    if ahead > SKEW_SECONDS:
        yield Finding(
            "clock of the brokers",
            "problem",
            f"the newest record was appended {ahead:.1f} s in this machine's future: deadlines and latencies are wrong "
            "by as much",
            SYNCHRONISE,
        )
    if not wrong and ahead <= SKEW_SECONDS:
        heard = f"{len(skews)} worker(s) within {SKEW_SECONDS:g} s" if skews else "no worker was heard"
        yield Finding("clocks", "ok", f"{heard}; no record is from the future")


def _heard(kafka: KafkaSettings) -> dict[str, tuple[float, float]]:
    """Worker -> (its clock, ours), of records that came while we listened."""
    consumer = Consumer({**kafka.client(), "group.id": "descant-doctor", "auto.offset.reset": "latest"})
    found: dict[str, tuple[float, float]] = {}
    try:
        at = TopicPartition(WORKERS_STATE, 0)
        if WORKERS_STATE not in consumer.list_topics(timeout=SECONDS_MAX).topics:
            return {}
        at.offset = consumer.get_watermark_offsets(at, timeout=SECONDS_MAX, cached=False)[1]
        consumer.assign([at])
        ends_at = time.monotonic() + LISTEN_SECONDS
        while time.monotonic() < ends_at:
            message = consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            try:
                state = json.loads(message.value() or b"")
                found[str(state["worker"])[:60]] = float(state["ts"]), time.time()
            except (ValueError, KeyError, TypeError):
                continue  # routers tell of states that they cannot read
    finally:
        consumer.close()
    return found


def _newest(kafka: KafkaSettings, topics: Sequence[str]) -> float:
    """Seconds since 1970 of the newest record on these topics; 0 when there is none."""
    admin = AdminClient(kafka.client())
    known = admin.list_topics(timeout=SECONDS_MAX).topics
    newest: Any = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
    led = [(name, p) for name in topics for p in known[name].partitions.values() if p.leader >= 0]
    places = {TopicPartition(name, p.id): newest for name, p in led}
    if not places:
        return 0.0
    found = admin.list_offsets(places, request_timeout=SECONDS_MAX)
    return float(max(future.result().timestamp for future in found.values())) / 1000


def check_transactions(kafka: KafkaSettings, plan: Plan, seconds: float = OPEN_SECONDS) -> Finding:
    """Whether a transaction that nobody ends hides what is written behind it; looks for `seconds` at most."""
    topics = answers_topic(plan.pipeline), control_topic(plan.pipeline)
    ends = OffsetLookup(kafka, seconds_max=SECONDS_MAX)
    stable = OffsetLookup(kafka, seconds_max=SECONDS_MAX, stable=True)
    known = AdminClient(kafka.client()).list_topics(timeout=SECONDS_MAX).topics
    # Of partitions without leader nothing can be said here; `check_partitions` names them.
    led = [(t, p) for t in topics if t in known for p in known[t].partitions.values() if p.leader >= 0]
    places = [(topic, p.id) for topic, p in led]
    high = {place: end for place, (_, end) in ends.ranges(places).items()}
    looked_at = time.monotonic()
    while held := [place for place, (_, end) in stable.ranges(places).items() if end < high[place]]:
        if time.monotonic() - looked_at > seconds:
            names = ", ".join(f"{topic} {number}" for topic, number in held)
            return Finding(
                "transactions",
                "problem",
                f"a transaction on {names} has been open for more than {seconds:g} s: its requests are not answered",
                "A closer ends it within a minute. If none can: `kafka-transactions.sh find-hanging`, then `abort`, "
                "on each broker (docs/guarantees.md says why).",
            )
        places = held
        time.sleep(LOOK_SECONDS)
    return Finding("transactions", "ok", "none is left open")


def check_plan(kafka: KafkaSettings, plan: Plan) -> Finding:
    """Whether the newest accepted request was accepted for this shape of the flow."""
    consumer = Consumer({**kafka.client(), "group.id": "descant-doctor", "auto.offset.reset": "latest"})
    topic, newest, digest = plan.topic(REQUEST), -1.0, ""
    try:
        known = consumer.list_topics(topic, timeout=SECONDS_MAX).topics[topic].partitions
        for number in known:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=SECONDS_MAX, cached=False)
            if high <= low:
                continue
            consumer.assign([TopicPartition(topic, number, high - 1)])
            message = consumer.poll(SECONDS_MAX / len(known))
            if message is not None and message.error() is None and message.timestamp()[1] > newest:
                newest = message.timestamp()[1]
                digest = dict(headers_of(message)).get("plan", b"").decode(errors="replace")  # type: ignore[union-attr]
    finally:
        consumer.close()
    if newest < 0:
        return Finding("flow", "ok", "no request was accepted yet")
    if digest == plan.digest:
        return Finding("flow", "ok", "the newest request was accepted for this flow")
    return Finding(
        "flow",
        "problem",
        "the newest request was accepted for another shape of the flow: stages of the one refuse records of the other",
        "Let all processes run the same version; open requests of the old one end at their deadlines.",
    )
