"""Ports of the loopback interface."""

import random
import socket

from streams.errors import BrokerError

LOOPBACK = "127.0.0.1"

# Systems take the local ports of outgoing connections from 32768 or 49152 upwards. A broker that is down must not
# have its port in there: a client that keeps trying to reach it can be given that very number, and then it blocks the
# restart or connects to itself (TCP's simultaneous open). Below 20000 are the ports that people know by heart.
FIRST_PORT = 20_000
LAST_PORT = 32_767
TRIES_MAX = 100


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the broker does: else the port of a broker that has just gone reads as taken for a minute (TIME_WAIT).
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def is_listening(port: int) -> bool:
    """Whether something accepts connections on this port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0):
            return True
    except OSError:
        return False


def free_port(*, besides: int | None = None) -> int:
    """A port that nobody listens on at this moment; somebody may take it before you do, so be ready to ask again."""
    draw = random.SystemRandom()
    for _ in range(TRIES_MAX):
        port = draw.randint(FIRST_PORT, LAST_PORT)
        if port != besides and is_free(port):
            return port
    raise BrokerError(
        f"{TRIES_MAX} ports drawn between {FIRST_PORT} and {LAST_PORT} are all taken. Name a free one with --port.",
        code="broker.no_port",
    )
