"""One process of a pipeline: any of its roles (ingress, stages, closer), from joining the groups to leaving them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final, Protocol, Self

from confluent_kafka.admin import AdminClient

from streams.access import access_of_role
from streams.core.plan import Plan, StageKind
from streams.errors import ConfigError
from streams.runtime.admitting import ROLE as INGRESS
from streams.runtime.admitting import IngressRole
from streams.runtime.authorization import check_access
from streams.runtime.closer_slot import ROLE as CLOSER
from streams.runtime.closing import CloserRole
from streams.runtime.ownership import SlotOwner
from streams.runtime.services import Services
from streams.runtime.stage import StageRole
from streams.runtime.threads import in_own_thread
from streams.runtime.topics import (
    SET_UP_SECONDS,
    ensure_topics,
    group_of,
    set_session_timeouts,
    state_topic,
    topics_of,
    wait_for_kafka,
)
from streams.settings import KafkaSettings, PipelineSettings

STANDBY_SECONDS: Final = 10.0
"""An instance that has been given no partition after this long is ready all the same: it stands by."""


class Role(Protocol):
    @property
    def owner(self) -> SlotOwner: ...

    def start(self) -> None: ...
    async def close(self) -> None: ...


def roles_of(plan: Plan) -> tuple[str, ...]:
    """Everything that must run somewhere for the pipeline to answer."""
    return (INGRESS, *(stage.name for stage in plan.stages), CLOSER)


class PipelineProcess:
    """`async with PipelineProcess(plan, roles, kafka, settings) as process: await process.wait()`."""

    def __init__(
        self, plan: Plan, roles: Sequence[str], kafka: KafkaSettings, settings: PipelineSettings | None = None
    ) -> None:
        """Raises ConfigError for a role that the plan does not have."""
        unknown = sorted(set(roles) - set(roles_of(plan)))
        if unknown:
            raise ConfigError(
                f"pipeline {plan.pipeline!r} has no stage {unknown[0]!r}; it has {', '.join(roles_of(plan))}.",
                code="config.stage",
            )
        self._plan: Final = plan
        self._names: Final = tuple(roles)
        self._kafka: Final = kafka
        self._settings: Final = settings or PipelineSettings()
        self._roles: Final[list[Role]] = []
        self._services: Services | None = None
        self._resources: Final = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await in_own_thread(self._set_up, seconds=SET_UP_SECONDS)  # Ctrl-C does not wait for a broker that is away
        routes = any(s.kind is StageKind.MODEL and s.name in self._names for s in self._plan.stages)
        try:
            await self._open_resources()
            services = self._services = Services(self._plan, self._kafka, self._settings, routes=routes)
            services.follower.start()
            for name in self._names:
                role = self._make(name, services)
                self._roles.append(role)
                role.start()
            await self._until_ready(services)
        except BaseException:
            await self._close()
            raise
        return self

    async def _open_resources(self) -> None:
        used = [r for stage in self._plan.stages if stage.name in self._names for r in stage.uses]
        for resource in dict.fromkeys(used):
            await self._resources.enter_async_context(resource.opened(self._kafka))

    def _set_up(self) -> None:
        needed = frozenset().union(*(access_of_role(self._plan, name) for name in self._names))
        wait_for_kafka(self._kafka, AdminClient(self._kafka.client()))
        check_access(self._kafka, needed)
        topics = [*topics_of(self._plan, self._settings).values(), state_topic(self._settings)]
        ensure_topics(self._kafka, topics)
        groups = [group_of(self._plan.pipeline, name) for name in self._names]
        set_session_timeouts(self._kafka, groups, self._settings)

    def _make(self, name: str, services: Services) -> Role:
        if name == INGRESS:
            return IngressRole(services)
        return CloserRole(services) if name == CLOSER else StageRole(services, self._plan[name])

    async def _until_ready(self, services: Services) -> None:
        async def all_joined() -> None:
            for role in self._roles:
                await role.owner.has_joined.wait()

        joined = asyncio.create_task(all_joined())
        try:
            await asyncio.wait([joined, services.failed], timeout=STANDBY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            joined.cancel()
        if services.failed.done():
            services.failed.result()

    async def wait(self) -> None:
        """Return never; raises what made the process unable to go on."""
        if self._services is not None:
            await asyncio.shield(self._services.failed)

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _close(self) -> None:
        """Hand everything back: commit, leave the groups, flush. What was under way runs again elsewhere.

        Takes some 20 s at most, also when the broker is away."""
        if self._services is not None:
            self._services.lookup.close()
        await asyncio.gather(*(role.close() for role in self._roles), return_exceptions=True)
        if self._services is not None:
            await self._services.close()
            if self._services.failed.done():
                self._services.failed.exception()
        await self._resources.aclose()
