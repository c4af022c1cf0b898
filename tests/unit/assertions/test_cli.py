"""The commands that need no Kafka."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assertions.cli import app, parse_since
from assertions.core.registry import REGISTRY
from assertions.errors import AssertionSetupError, ObservationError
from assertions.offline import read_labels, read_observations

MODULE = '''
from assertions import assertion

@assertion(on="p.s", owner="maps", severity="the doubt itself")
def cli_doubt(value: dict) -> float:
    """Says how unsure it is."""
    return value["doubt"]
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "my_checks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield "my_checks"
    REGISTRY.remove("cli_doubt")
    sys.modules.pop("my_checks", None)


def observations(tmp_path: Path, *doubts: object) -> Path:
    path = tmp_path / "seen.jsonl"
    lines = (
        {"pipeline": "p", "stage": "s", "serial": f"0:{n}", "request": f"r{n}", "time": n, "value": {"doubt": doubt}}
        for n, doubt in enumerate(doubts)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_a_file_is_judged_and_the_health_told(module: str, tmp_path: Path) -> None:
    path = observations(tmp_path, 0, 0.5, "not a number")
    result = run("test", str(path), "--module", module, "--name", "cli_doubt")
    assert [flag["subject"] for flag in result["flags"]] == ["r1"]
    assert result["health"]["cli_doubt"]["errors"] == {"refused": 1}


def test_labels_are_judged_in_place_of_outputs(module: str, tmp_path: Path) -> None:
    path = observations(tmp_path, 0.0, 0.0, 0.0)
    labels = tmp_path / "labels.jsonl"
    labels.write_text(json.dumps({"subject": "r2", "label": {"doubt": 0.9}}) + "\n")
    result = run("test", str(path), "--module", module, "--name", "cli_doubt", "--labels", str(labels))
    assert [(f["subject"], f["data"]["severity"]) for f in result["flags"]] == [("r2", 0.9)]
    assert result["observations"] == 1


def test_show_tells_what_an_assertion_is(module: str) -> None:
    shown = run("show", "cli_doubt", "--module", module)
    assert (shown["owner"], shown["on"], shown["description"]) == ("maps", ["p.s"], "Says how unsure it is.")


def test_what_is_not_there_is_named(module: str) -> None:
    for arguments in (["show", "other", "-m", module], ["list", "no_such_module"]):
        error = CliRunner().invoke(app, arguments).exception
        assert isinstance(error, AssertionSetupError), arguments


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"stage": "s"}', '{"stage": "s", "value": 1, "serial": "0:1", "time": "x"}']
)
def test_a_file_that_is_no_observations_names_the_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text("\n" + line + "\n")
    with pytest.raises(ObservationError, match=r"broken.jsonl, line 2"):
        list(read_observations(path))
    with pytest.raises(ObservationError, match=r"line 2"):
        read_labels(path)


def test_since() -> None:
    assert parse_since("now") == "now"
    assert parse_since("2026-01-31T12:00") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    age = parse_since("2h")
    assert isinstance(age, datetime)
    assert 7_100 < (datetime.now(UTC) - age).total_seconds() < 7_300
    with pytest.raises(AssertionSetupError):
        parse_since("yesterday")
