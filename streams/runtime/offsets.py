"""Where partitions begin and end, asked of the brokers without a consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without saying so

from streams.runtime.consumer import retrying
from streams.settings import KafkaSettings

ASK_SECONDS: Final = 5.0
"""Of one try; the process cannot end before it is over."""


class OffsetLookup:
    """High watermarks, those of open transactions included, and log starts; waits for a broker that is away."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka: Final = kafka
        self._admin = AdminClient(kafka.client())
        self._is_open = True

    def close(self) -> None:
        """Whoever still waits for a broker is told so with the last error; a process can end while it is away."""
        self._is_open = False

    async def ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return await asyncio.to_thread(self._ask, list(places), OffsetSpec.latest())  # type: ignore[no-untyped-call]

    async def beginnings(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return await asyncio.to_thread(self._ask, list(places), OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def _ask(self, places: list[tuple[str, int]], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        if not places:
            return {}

        def ask() -> dict[tuple[str, int], int]:
            admin = self._admin
            futures = admin.list_offsets(
                {TopicPartition(topic, number): spec for topic, number in places}, request_timeout=ASK_SECONDS
            )
            try:
                return {(at.topic, at.partition): future.result().offset for at, future in futures.items()}
            except KafkaException:
                # A client that listed offsets before its broker restarted is answered FENCED_LEADER_EPOCH for ever:
                # it keeps the leaders that it knows (2.16). A new one asks who leads.
                self._admin = AdminClient(self._kafka.client())
                raise

        return retrying(ask, still=lambda: self._is_open)
