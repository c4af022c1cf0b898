"""What stages of one process share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streams import Pipeline, Resource
from streams.errors import ConfigError
from streams.flow.errors import RefusedFlowError
from streams.settings import KafkaSettings

KAFKA = KafkaSettings(bootstrap="nowhere:1")


def counting(log: list[str]) -> Resource[str]:
    @asynccontextmanager
    async def opened(kafka: KafkaSettings) -> AsyncIterator[str]:
        log.append(f"opened with {kafka.bootstrap}")
        yield f"value {len(log)}"
        log.append("closed")

    return Resource(opened)


async def test_it_is_there_while_it_is_open() -> None:
    log: list[str] = []
    resource = counting(log)
    async with resource.opened(KAFKA) as value:
        assert resource.value == value == "value 1"
    assert log == ["opened with nowhere:1", "closed"]
    with pytest.raises(ConfigError, match="uses="):
        _ = resource.value


def test_the_plan_says_which_stage_uses_what() -> None:
    resource = counting([])
    pipeline = Pipeline("mine")

    @pipeline.stage(uses=[resource])
    def answer(question: str) -> str:
        return question

    @pipeline.flow
    def flow(question: str) -> str:
        return answer(question)

    assert pipeline.plan["answer"].uses == (resource,)


def test_something_else_is_refused() -> None:
    pipeline = Pipeline("mine")
    with pytest.raises(RefusedFlowError, match="uses"):

        @pipeline.stage(uses=["a string"])  # type: ignore[list-item]
        def answer(question: str) -> str:
            return question
