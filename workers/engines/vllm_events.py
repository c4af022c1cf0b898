"""What vLLM's prefix cache holds, from the events that its engine core publishes over ZeroMQ."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, Final

from workers.engines.protocol import BlocksRemoved, BlocksStored, CacheCleared, CacheEvent

# Events that wait here while the loop is busy; beyond, ZeroMQ drops, the gap is seen and everything is forgotten.
_QUEUE_MAX: Final = 100_000


class CacheEvents:
    """One subscription. `config` goes to vLLM, which binds the socket; nothing is lost that it says after `start`."""

    def __init__(self) -> None:
        # A socket of the file system: no port to collide on, and nobody else's to listen to (the folder is 0700).
        self._folder: Final = tempfile.TemporaryDirectory(prefix="descant-kv-")
        self.endpoint: Final = f"ipc://{Path(self._folder.name) / 'events'}"
        self._listeners: Final[list[Callable[[CacheEvent], None]]] = []
        self._reader: asyncio.Task[None] | None = None
        self._decode: Callable[[bytes], Iterator[CacheEvent]] | None = None
        self._next = 0

    def listen(self, listener: Callable[[CacheEvent], None]) -> None:
        self._listeners.append(listener)

    def config(self) -> Any:
        """vLLM's `kv_events_config`."""
        from vllm.config import KVEventsConfig  # noqa: PLC0415

        return KVEventsConfig(enable_kv_cache_events=True, publisher="zmq", endpoint=self.endpoint)

    async def start(self) -> None:
        """Subscribe; the engine core has bound its socket by now."""
        import zmq  # noqa: PLC0415 (vLLM brings it)
        import zmq.asyncio  # noqa: PLC0415

        self._decode = _decoder()
        socket = zmq.asyncio.Context.instance().socket(zmq.SUB)
        socket.set_hwm(_QUEUE_MAX)
        # A subscription counts from when the publisher has read it: the monitor says when the connection stands.
        monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        socket.subscribe(b"")
        socket.connect(self.endpoint)
        try:
            async with asyncio.timeout(5):
                await monitor.recv_multipart()
        finally:
            socket.disable_monitor()
        self._reader = asyncio.create_task(self._read(socket))

    async def _read(self, socket: Any) -> None:
        try:
            while True:
                _, number, payload = await socket.recv_multipart()
                self.take(int.from_bytes(number, "big"), payload)
        finally:
            socket.close(linger=0)

    def take(self, number: int, payload: bytes) -> None:
        """One message. What was missed may have been a removal: after a gap nothing is believed."""
        if number != self._next:
            self._tell(CacheCleared())
        self._next = number + 1
        assert self._decode is not None  # noqa: S101 (set by start)
        for event in self._decode(payload):
            self._tell(event)

    def _tell(self, event: CacheEvent) -> None:
        for listener in self._listeners:
            listener(event)

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._folder.cleanup()


def _decoder() -> Callable[[bytes], Iterator[CacheEvent]]:
    import msgspec  # noqa: PLC0415 (vLLM brings it)
    from vllm.distributed import kv_events  # noqa: PLC0415

    # vLLM's own types: how events are laid out in a message has changed between its versions.
    decode = msgspec.msgpack.Decoder(kv_events.KVEventBatch).decode
    followed = _Followed()

    def events(payload: bytes) -> Iterator[CacheEvent]:
        for event in decode(payload).events:
            kind = type(event).__name__
            if kind == "AllBlocksCleared":
                yield CacheCleared()
            elif followed.counts(event):
                names: tuple[Hashable, ...] = tuple(event.block_hashes)
                if kind == "BlockRemoved":
                    yield BlocksRemoved(names)
                else:
                    yield BlocksStored(names, event.parent_block_hash, tuple(event.token_ids), event.block_size)

    return events


class _Followed:
    """Models with sliding windows have a cache for each kind of attention, and events of each.

    A prefix is cached when the layers that attend to all of it have it; what a window keeps is only its end. Followed
    is the first group that is not said to be one of windows. Blocks moved to slower memory are given up, for routing.
    """

    def __init__(self) -> None:
        self._group: int | None = None

    def counts(self, event: Any) -> bool:
        if getattr(event, "medium", None) not in {None, "GPU"}:
            return False
        group = getattr(event, "group_idx", None)
        if group is None:
            return True
        if self._group is None and "window" not in (getattr(event, "kv_cache_spec_kind", None) or ""):
            self._group = group
        return bool(group == self._group)
