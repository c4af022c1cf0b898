"""`descant dead-letters` as a user types it, on what a real pipeline could not use."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from streams.cli import main
from streams.client.dead_letters import DeadLetters
from streams.core.record import Headers
from streams.errors import ConfigError
from streams.runtime.topics import answers_topic, dead_letters_topic, requests_topic
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests
from tests.integration.pipelines import fan_out
from tests.integration.test_pipelines import read_all, running, until

pytestmark = pytest.mark.integration

BAD = b'{"n": "many"}'


async def run(kafka: KafkaForTests, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(main, ["dead-letters", *arguments, "--bootstrap", kafka.bootstrap])
    return int(ended.value.code or 0)


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The command's one JSON line; the pipeline logs to the same standard output here."""
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(line)
    return found


async def test_a_bad_request_is_found_shown_corrected_and_answered_once(
    kafka: KafkaForTests, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fixed = tmp_path / "fixed.json"
    fixed.write_text('{"n": 2}')
    async with running(kafka, fan_out) as (pipeline, _):
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        headers: Headers = [("traceparent", b"0" * 55), ("deadline", b"9999999999999")]
        producer.produce(requests_topic(pipeline.name), BAD, b"bad", headers=headers)
        producer.flush(30)
        await until(kafka, dead_letters_topic(pipeline.name), b"bad")

        assert await run(kafka, "list", pipeline.name, "--reason", "request", "--since", "1h", "--json") == 0
        [found] = printed(capsys)["dead_letters"]
        assert (found["reason"], found["request_id"], found["bytes"]) == ("request.invalid", "bad", len(BAD))
        assert await run(kafka, "show", pipeline.name, found["place"], "--json") == 0
        shown = printed(capsys)
        assert (shown["value"], shown["headers"]["traceparent"]) == (BAD.decode(), "0" * 55)

        for _ in range(2):  # the second is the same request
            assert await run(kafka, "replay", pipeline.name, found["place"], "--value", str(fixed), "--json") == 0
            assert printed(capsys)["replayed"] == {found["place"]: f"replay-{found['place']}"}
        again = f"replay-{found['place']}".encode()
        assert json.loads(await until(kafka, answers_topic(pipeline.name), again))["values"] == [0, 2]
        # One that comes after both, on the same partition because it has the same key, shows that the second is over.
        producer.produce(requests_topic(pipeline.name), None, again, headers=[("kind", b"cancel")])
        producer.flush(30)
        assert await run(kafka, "replay", pipeline.name, "--all", "--dry-run") == 0
        assert "would go as replay-" in capsys.readouterr().out
    assert [key for key, _ in read_all(kafka, answers_topic(pipeline.name)) if key == again] == [again]


async def test_a_record_from_inside_is_kept_but_cannot_be_sent_again(kafka: KafkaForTests) -> None:
    async with running(kafka, fan_out) as (pipeline, _):
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        producer.produce(pipeline.plan.topic("double"), b"\x1b[31mred", b"stray")
        producer.flush(30)
        await until(kafka, dead_letters_topic(pipeline.name), b"stray")
        letters = DeadLetters(pipeline.name, KafkaSettings(bootstrap=kafka.bootstrap))
        [letter] = letters.all()
        assert (letter.reason, letter.value) == ("record.envelope", b"\x1b[31mred")
        with pytest.raises(ConfigError, match="Ask the request anew"):
            letters.replay(letter)
        with pytest.raises(ConfigError, match="no record at 0-99"):
            letters.one("0-99")


async def test_a_mistake_is_told_in_one_line(kafka: KafkaForTests, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(kafka, "list", "no-such-pipeline") == 1
    assert await run(kafka, "replay", "no-such-pipeline") == 2
    assert await run(kafka, "list", "no-such-pipeline", "--since", "99999999999d") == 2
    said = capsys.readouterr().err.splitlines()
    assert "there is no topic 'no-such-pipeline.dead-letters'" in said[0]
    assert "--all" in said[1]
    assert "90s, 15m, 2h or 1d" in said[2]
