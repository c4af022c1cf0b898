"""The commands that need no Kafka."""

from __future__ import annotations

import json
import os
import subprocess
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
from assertions.labels import read_labels
from assertions.offline import read_observations
from streams.errors import BrokerError

ROOT = Path(__file__).parents[3]

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


def test_labels_of_the_labelling_page_are_a_field_of_the_output(module: str, tmp_path: Path) -> None:
    path = observations(tmp_path, 0.0, 0.0, 0.0)
    told = [("r1", "ann", "0.9", 1), ("r1", "ann", "0.4", 2), ("r2", "ann", "0.3", 1), ("r2", "bob", "0.8", 2)]
    records = (
        {"id": f"l{n}", "example": example, "model": "m", "labeller": who, "value": value,
         "labelled_at": f"2026-01-0{day}T00:00:00Z"}
        for n, (example, who, value, day) in enumerate(told)
    )  # fmt: skip
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps(record) + "\n" for record in records))
    options = ["--labels", str(labels), "--label-field", "doubt"]
    result = run("test", str(path), "--module", module, "--name", "cli_doubt", *options)
    assert result["observations"] == 1, "ann's second label of r1; the two of r2 disagree"
    assert result["health"]["cli_doubt"]["errors"] == {"refused": 1}, "a class is text"


def test_parquet_gives_the_flags_of_json_lines(module: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs descant[parquet]")
    import pyarrow

    path = observations(tmp_path, 0, 0.5, 0.25, 0)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    columns = {name: [row[name] for row in rows] for name in ("pipeline", "stage", "serial", "request", "time")}
    columns["value"] = [json.dumps(row["value"]) for row in rows]
    other = tmp_path / "seen.parquet"
    parquet.write_table(pyarrow.table(columns), other)
    options = ["--module", module, "--name", "cli_doubt"]
    as_lines, as_parquet = run("test", str(path), *options), run("test", str(other), *options)
    assert len(as_lines["flags"]) == 2
    assert as_parquet["flags"] == as_lines["flags"]


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Kafka is named, and none runs in the background."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("nowhere")
def test_who_was_not_asked_is_not_said_to_be_stopped(module: str) -> None:
    result = CliRunner().invoke(app, ["list", module])
    assert "cli_doubt" in result.output
    assert "not running" not in result.output
    assert "nobody was asked" in result.output


def test_nothing_to_test_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assertions.cli.load", lambda _: ([], []))
    result = CliRunner().invoke(app, ["test", str(observations(tmp_path, 0))])
    assert isinstance(result.exception, AssertionSetupError)
    assert "--module" in str(result.exception)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def broken(:", "is no Python"),
        ("import no_such_package_at_all", "needs the Python package 'no_such_package_at_all'"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, told: str
) -> None:
    (tmp_path / "unimportable.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    result = CliRunner().invoke(app, ["list", "unimportable"])
    assert isinstance(result.exception, AssertionSetupError)
    assert told in str(result.exception)


@pytest.mark.parametrize("name", ["seen.parquet", "seen.jsonl"])
def test_a_file_of_something_else_is_told_in_a_line(module: str, tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="needs descant[parquet]")
    (tmp_path / name).write_bytes(b"\xff\xfe\x00 neither")
    result = CliRunner().invoke(app, ["test", str(tmp_path / name), "--module", module])
    assert isinstance(result.exception, ObservationError)


def test_a_broker_that_is_away_is_told_in_a_line() -> None:
    result = CliRunner().invoke(app, ["history", "cli_doubt", "--bootstrap", "127.0.0.1:1"])
    assert isinstance(result.exception, BrokerError)
    assert "127.0.0.1:1" in str(result.exception)


PLUGIN = {
    "their_checks/__init__.py": """
from assertions import assertion

@assertion(on="p.s", owner="them")
def from_a_plugin(value):
    return value["doubt"] > 0.4
""",
    "their_checks-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: their-checks\nVersion: 1.0\n",
    "their_checks-1.0.dist-info/entry_points.txt": "[descant.assertions]\ntheirs = their_checks\n",
}


def test_assertions_of_an_installed_package_are_found_without_naming_it(tmp_path: Path) -> None:
    """As pip leaves a package outside the repository: a folder with metadata on the path."""
    for name, text in PLUGIN.items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text)
    path = observations(tmp_path, 0, 0.5)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", "assertions", "test", str(path), "--name", "from_a_plugin", "--json"],
        env=environment, cwd=tmp_path, capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert [flag["subject"] for flag in json.loads(done.stdout)["flags"]] == ["r1"]
    listed = subprocess.run(
        [sys.executable, "-m", "assertions", "list", "--json"],
        env=environment, cwd=tmp_path, capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert [(row["name"], row["owner"], row["module"]) for row in json.loads(listed.stdout)] == [
        ("from_a_plugin", "them", "their_checks")
    ]


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
