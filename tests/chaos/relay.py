"""A network between the processes and the broker that can be slow, or break; needs no rights and no kernel module."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Final

READ_BYTES: Final = 65_536
AHEAD_MAX: Final = 64
"""Pieces on their way in one direction: a sender is held up when the receiver does not read."""

START_SECONDS_MAX: Final = 10.0


class Relay:
    """Passes connections to `port` on to `target`; it may be made slow, or cut, at any time and from any thread."""

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        """Added to each way."""
        self.target = 0
        """Port of the broker on this machine."""
        self.port = 0
        self._is_cut = False
        self._loop: Final = asyncio.new_event_loop()
        self._connections: Final[set[asyncio.StreamWriter]] = set()
        self._is_up: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()
        if not self._is_up.wait(START_SECONDS_MAX):
            raise RuntimeError("the relay does not start")

    def cut(self, is_cut: bool) -> None:
        """True: reset every connection, and refuse new ones until it is called with False."""
        self._loop.call_soon_threadsafe(self._cut, is_cut)

    def _cut(self, is_cut: bool) -> None:
        self._is_cut = is_cut
        for writer in tuple(self._connections) if is_cut else ():
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_up.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()  # as the broker itself would, when it is down
            return
        both = (writer, to_writer)
        self._connections.update(both)
        ways = [asyncio.create_task(self._pass(reader, to_writer)), asyncio.create_task(self._pass(to_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        self._connections.difference_update(both)
        for end in both:
            end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either end is gone."""
        on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(AHEAD_MAX)
        writing = asyncio.create_task(self._write(on_its_way, writer))
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(READ_BYTES):
                    await on_its_way.put((self._loop.time() + self.delay_seconds, data))
        finally:
            writing.cancel()

    async def _write(self, on_its_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = await on_its_way.get()
                wait = due - self._loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
                writer.write(data)
                await writer.drain()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(5)

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_soon(self._loop.stop)
