"""Where partitions begin and end, asked of the brokers without a consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without saying so

from streams.runtime.consumer import CALL_SECONDS, retrying
from streams.settings import KafkaSettings


class OffsetLookup:
    """High watermarks, those of open transactions included, and log starts; waits for a broker that is away."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._admin: Final = AdminClient(kafka.client())

    async def ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return await asyncio.to_thread(self._ask, list(places), OffsetSpec.latest())  # type: ignore[no-untyped-call]

    async def beginnings(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return await asyncio.to_thread(self._ask, list(places), OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def _ask(self, places: list[tuple[str, int]], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        if not places:
            return {}

        def ask() -> dict[tuple[str, int], int]:
            futures = self._admin.list_offsets(
                {TopicPartition(topic, number): spec for topic, number in places}, request_timeout=CALL_SECONDS
            )
            return {(at.topic, at.partition): future.result().offset for at, future in futures.items()}

        return retrying(ask)
