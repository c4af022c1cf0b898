"""What `descant docs` writes."""

import json
from pathlib import Path

import jsonschema
import pytest

from assertions.asyncapi import document
from assertions.core.health import Health
from assertions.core.severity import Finding, Judged
from assertions.processor.topics import DEAD_LETTERS, FLAGS, HEALTH
from examples.factcheck.pipeline import factcheck
from streams.cli import main
from streams.cli.docs import metrics_page
from streams.flow.asyncapi import asyncapi

ROOT = Path(__file__).parents[3]


def test_the_page_on_metrics_is_what_the_processes_export() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics_page() + "\n"


def test_a_document_names_every_topic_that_clients_meet_and_refers_to_nothing_that_is_not_there() -> None:
    found = asyncapi(factcheck.plan, "1")
    addresses = {channel["address"] for channel in found["channels"].values()}
    assert addresses == {f"factcheck.{name}" for name in ("requests", "answers", "dead-letters")} | {
        factcheck.plan.topic(stage.name) for stage in factcheck.plan.stages
    }
    for operation in found["operations"].values():
        for reference in (operation["channel"], *operation["messages"]):
            place = found
            for part in reference["$ref"].removeprefix("#/").split("/"):
                place = place[part]


@pytest.mark.parametrize(
    ("channel", "value", "fits"),
    [
        ("requests", {"text": "Tell me about Bolivia."}, True),
        ("requests", {"text": 1}, False),
        ("answers", {"error": {"code": "deadline", "stage": "", "message": "too late", "request_id": "r"}}, True),
        ("answers", {"error": "late"}, False),
        ("stage-draft", {"text": " Bolivia", "ids": [1]}, True),
    ],
)
def test_its_schemas_tell_right_values_from_wrong_ones(channel: str, value: object, fits: bool) -> None:
    [message] = asyncapi(factcheck.plan, "1")["channels"][channel]["messages"].values()
    assert jsonschema.Draft202012Validator(message["payload"]).is_valid(value) == fits


def test_the_command_writes_a_file(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["docs", "asyncapi", "examples.factcheck.pipeline:factcheck", "--out", str(tmp_path / "a.json")])
    assert not ended.value.code
    assert '"asyncapi": "3.0.0"' in (tmp_path / "a.json").read_text()


def test_the_schema_of_a_flag_is_published_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["docs", "schema", "flag", "--out", str(tmp_path / "flag.json")])
    assert not ended.value.code
    assert (ROOT / "docs" / "schemas" / "flag.json").read_text() == (tmp_path / "flag.json").read_text()
    jsonschema.Draft202012Validator.check_schema(json.loads((tmp_path / "flag.json").read_text()))


def test_the_assertions_topics_are_described_and_a_real_health_record_fits(tmp_path: Path) -> None:
    found = document("1")
    assert {channel["address"] for channel in found["channels"].values()} == {FLAGS, HEALTH, DEAD_LETTERS}
    health = Health()
    health.count([Judged((Finding("", 0.5),), 0.001)])
    [message] = found["channels"]["health"]["messages"].values()
    record = {"assertion": "a", "group": "g", "instance": "i", "time": 1.0, **health.to_json()}
    validator = jsonschema.Draft202012Validator(message["payload"])
    validator.validate(record)
    assert not validator.is_valid({**record, "state": "fine"})
    assert set(record) <= set(message["payload"]["properties"])
