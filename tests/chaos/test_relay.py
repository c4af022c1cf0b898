"""The relay is a network that can be made slow, or cut."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.relay import Relay


@pytest.fixture
def relay() -> Iterator[Relay]:
    """To a server that says back what it is told."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    def echo(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65_536):
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    made = Relay()
    made.target = server.getsockname()[1]
    yield made
    made.close()
    server.close()


def said_back(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    found = b""
    while len(found) < len(text) and (data := connection.recv(65_536)):
        found += data
    return found


def test_it_passes_everything_on_and_is_slow_where_it_is_told_to_be(relay: Relay) -> None:
    text = bytes(range(256)) * 4_000
    with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as connection:
        assert said_back(connection, text) == text
        relay.delay_seconds = 0.1
        began = time.monotonic()
        assert said_back(connection, b"slow") == b"slow"
        assert time.monotonic() - began > 0.2, "each way takes longer"


def test_a_cut_resets_and_refuses_until_it_is_over(relay: Relay) -> None:
    def is_there() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as connection:
                return said_back(connection, b"there") == b"there"
        except ConnectionError:
            return False

    with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as before:
        assert said_back(before, b"there") == b"there"
        relay.cut(True)
        with pytest.raises(ConnectionError):
            raise_if_over(before.recv(10))
    assert not is_there()
    relay.cut(False)
    assert is_there()


def raise_if_over(data: bytes) -> None:
    """The end of a stream is the end of the connection, as a reset is."""
    if not data:
        raise ConnectionResetError
