"""An assertion that enforces ends a request while its text is still being written, and says so in the answer."""

from __future__ import annotations

import pytest

from assertions import Flag, FlagState
from benchmarks.alerts_abort import FORBIDDEN_AT, SETTINGS, TOKENS, Forbidding, Question, judged, pipeline
from streams.client import Answer, Client, Text
from streams.runtime.process import PipelineProcess, roles_of
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from tests.integration.test_assertions import FlagsOf
from workers.service.worker import Worker

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ABORTED_TOKENS_MAX = TOKENS // 2
"""A second passes between the forbidden token and this one; the abort takes a twentieth of that on a quiet machine."""


async def test_a_forbidden_word_ends_its_request_and_no_other(kafka: KafkaForTests) -> None:
    name, model = kafka.unique("abort"), kafka.unique("model")
    settings, made, engine = KafkaSettings(bootstrap=kafka.bootstrap), pipeline(name, model), Forbidding(model)
    flags = FlagsOf(kafka, name)
    async with (
        PipelineProcess(made.plan, roles_of(made.plan), settings, SETTINGS),
        Worker(engine, settings, SETTINGS),
        judged(kafka, name),
        Client(made, settings, watch=True) as client,
    ):
        texts: list[Text] = []
        answer: Answer | None = None
        handle = await client.submit(Question(text="a question"), id="aborted")
        async for event in handle.events():
            if isinstance(event, Text):
                texts.append(event)
            elif isinstance(event, Answer):
                answer = event
        assert answer is not None
        assert answer.error is not None
        assert (answer.error.code, answer.error.stage) == ("cancelled", "draft")
        assert "assertion forbidden (version 1)" in answer.error.message
        assert "word1" not in answer.error.message, "the answer quotes the example"
        assert FORBIDDEN_AT <= texts[-1].position < ABORTED_TOKENS_MAX
        assert engine.written < TOKENS, "the generation went on to its end"

        decided = flags.until(lambda found: any(f.subject == "aborted" for f in found))
        flag: Flag = next(f for f in decided if f.subject == "aborted")
        assert (flag.data.decision, flag.state) == ("abort", FlagState.PROVISIONAL)
        assert flag.id in answer.error.message
    flags.close()
