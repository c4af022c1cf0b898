"""The learning commands against a real Kafka."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from learning import desk
from learning.artefacts import FolderStore
from learning.records import (
    ArtefactRef,
    GateResult,
    Interval,
    JobRecord,
    LabelRequest,
    ModelVersion,
    Phase,
    TrainingExample,
    TrainingSet,
    Verdict,
    VersionState,
)
from streams.settings import KafkaSettings
from streams.testing import KafkaForTests

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Command = Callable[..., Any]


@pytest.fixture
def descant(kafka: KafkaForTests) -> Command:
    """Run a command with --json; its document, or its error line where it failed."""

    def run(*arguments: str, plain: bool = False) -> Any:
        command = [
            sys.executable,
            "-c",
            "from streams.cli import main; main()",
            *arguments,
            "--bootstrap",
            kafka.bootstrap,
        ]
        done = subprocess.run(
            command if plain else [*command, "--json"], capture_output=True, text=True, timeout=240, check=False
        )
        assert "Traceback" not in done.stderr
        if done.returncode:
            return done.stderr
        return done.stdout if plain else json.loads(done.stdout)

    return run


def version(model: str, number: int, state: VersionState, ref: ArtefactRef, digest: str) -> ModelVersion:
    gate = GateResult(
        verdict=Verdict.ASK, reasons=("a test",), accuracy=Interval(value=number / 10, low=0, high=1, n=9)
    )
    return ModelVersion(
        name=model, version=number, state=state, artefact=ref, training_set=ref, training_set_digest=digest, labels=1,
        gate=gate, parent=number - 1 or None, job=f"{model}-{number}", created_at=NOON,
    )  # fmt: skip


def test_from_request_to_label_and_back(kafka: KafkaForTests, descant: Command, tmp_path: Path) -> None:
    settings, model = KafkaSettings(bootstrap=kafka.bootstrap), kafka.unique("model")
    names = [f"{model}-{i}" for i in range(3)]
    desk.ask(
        settings,
        [
            LabelRequest(id=n, model=model, example={"t": n}, classes=("x", "y"), flags=(f"f-{n}",), requested_at=NOON)
            for n in names
        ],
    )
    assert [r["id"] for r in descant("labels", "next", "--model", model, "-n", "5")] == names
    assert descant("labels", "submit", names[0], "x", "--labeller", "ann")["value"] == "x"
    assert "learning.label.wrong-class" in descant("labels", "submit", names[1], "z", "--labeller", "ann")
    assert "learning.label.unknown" in descant("labels", "submit", "nobody", "x")
    file = tmp_path / "tasks.jsonl"
    rows = [json.loads(line) for line in descant("labels", "export", "--model", model, plain=True).splitlines()]
    assert [row["example"] for row in rows] == names[1:]
    file.write_text(
        "".join(json.dumps({**row, "value": v}) + "\n" for row, v in zip(rows, ["y", "purple"], strict=True))
    )
    out = descant("labels", "import", str(file), "--oracle")
    assert (out["imported"], out["refused"][0]["code"]) == (1, "learning.label.wrong-class")
    descant("labels", "import", str(file), "--oracle")
    assert desk.learned(settings).labels.count(model) == 2
    assert descant("labels", "submit", names[0], "--withdraw", "--labeller", "ann")["withdrawn"]
    assert [r["id"] for r in descant("labels", "next", "--model", model, "-n", "5")] == [names[0], names[2]]


def test_versions_are_listed_compared_promoted_and_rolled_back(
    kafka: KafkaForTests, descant: Command, tmp_path: Path
) -> None:
    settings, model, store = KafkaSettings(bootstrap=kafka.bootstrap), kafka.unique("model"), FolderStore(tmp_path)
    example = TrainingExample(id=f"{model}-e", example=None, value="x", flags=(f"{model}-f",))
    unasked = TrainingExample(id=f"{model}-u", example=None, value="x", flags=(f"{model}-g",), rules=("odd",))
    examples = TrainingSet(model=model, examples=(example, unasked))
    ref = store.put(model, examples.encoded(), format="json")
    desk.ask(
        settings,
        [
            LabelRequest(
                id=example.id, model=model, example=None, classes=("x",), flags=example.flags, requested_at=NOON
            )
        ],
    )
    desk.publish(settings, [version(model, 1, VersionState.CURRENT, ref, examples.digest)])
    second = version(model, 2, VersionState.CANDIDATE, ref, examples.digest)
    desk.publish(settings, [second.model_copy(update={"weak": 3, "conflicts": 2})])

    def states() -> dict[int, str]:
        return {v["version"]: v["state"] for v in descant("models", "list") if v["name"] == model}

    assert states() == {1: "current", 2: "candidate"}
    between = descant("models", "diff", model, "1", "2")
    assert (between["accuracy"], between["weak examples"], between["conflicts of rules"]) == (
        [0.1, 0.2],
        [0, 3],
        [0, 2],
    )
    descant("models", "promote", model, "2")
    assert states() == {1: "retired", 2: "current"}
    descant("models", "rollback", model)
    assert states() == {1: "current", 2: "rolled-back"}
    assert "learning.models.unknown" in descant("models", "promote", model, "9")
    (walked,) = descant("trace", f"{model}-f", "--store", str(tmp_path))
    assert (walked["request"]["id"], walked["versions"]) == (example.id, [1, 2])
    (walked,) = descant("trace", f"{model}-g", "--store", str(tmp_path))
    assert (walked["request"], walked["rules"], walked["versions"]) == (None, ["odd"], [1, 2])
    told = descant("trace", f"{model}-g", "--store", str(tmp_path), plain=True)
    assert f"request    {model}-u for {model}, nobody was asked\nrules      odd\nversion    {model} 1" in told


def test_what_retraining_came_to_is_seen_where_people_look(kafka: KafkaForTests, descant: Command) -> None:
    settings, model = KafkaSettings(bootstrap=kafka.bootstrap), kafka.unique("model")
    asked = descant("retrain", model)
    assert [j["phase"] for j in descant("learn", "jobs") if j["model"] == model] == ["asked"]
    reason = "[learning.training.empty] no label"
    failed = JobRecord(model=model, job=asked["job"], phase=Phase.FAILED, at=NOON, reason=reason)
    desk.publish(settings, [failed])
    (told,) = [line for line in descant("learn", "jobs", plain=True).splitlines() if line.startswith(f"{model} ")]
    assert told.endswith(f"failed: {reason}")
