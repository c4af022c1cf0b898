"""Which Kafka to use."""

import os


def bootstrap_servers(explicit: str | None) -> str | None:
    """What the user named: `explicit` (--bootstrap) over KAFKA_BOOTSTRAP_SERVERS; None if neither says anything."""
    return explicit or os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or None
