"""A trainer that is a command: for fine-tuning jobs, other languages, other environments."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from learning.errors import TrainingError
from learning.records import TrainingExample
from learning.training import Predictor


@dataclass(frozen=True)
class CommandTrainer:
    """`train` and `predict` are argument lists, run without a shell in an empty folder.

    train     reads `examples.jsonl` (training examples) and, if there is one, `current`; writes `artefact`
    predict   reads `artefact` and `examples.jsonl` (one JSON value a line); writes `predictions.jsonl`, one
              class a line
    An exit code other than 0, a missing output or too long a run is a TrainingError; the last line of stderr
    is in it.
    """

    train: tuple[str, ...]
    predict: tuple[str, ...]
    seconds_max: float = 3_600.0
    format: str = "bin"

    def fit(self, examples: Sequence[TrainingExample], classes: Sequence[str], current: bytes | None) -> bytes:
        with tempfile.TemporaryDirectory(prefix="descant-train-") as name:
            folder = Path(name)
            (folder / "examples.jsonl").write_text("".join(e.model_dump_json() + "\n" for e in examples))
            (folder / "classes.json").write_text(json.dumps(list(classes)))
            if current is not None:
                (folder / "current").write_bytes(current)
            return run(self.train, folder, "artefact", self.seconds_max)

    def load(self, artefact: bytes) -> Predictor:
        return _CommandPredictor(self, artefact)


@dataclass(frozen=True)
class _CommandPredictor:
    trainer: CommandTrainer
    artefact: bytes

    def predict(self, examples: Sequence[JsonValue]) -> list[str]:
        with tempfile.TemporaryDirectory(prefix="descant-predict-") as name:
            folder = Path(name)
            (folder / "artefact").write_bytes(self.artefact)
            (folder / "examples.jsonl").write_text("".join(json.dumps(e) + "\n" for e in examples))
            lines = (
                run(self.trainer.predict, folder, "predictions.jsonl", self.trainer.seconds_max).decode().splitlines()
            )
        if len(lines) != len(examples):
            raise TrainingError(f"the command predicted {len(lines)} classes for {len(examples)} examples.")
        return [str(json.loads(line)) for line in lines]

    def probabilities(self, examples: Sequence[JsonValue]) -> Mapping[str, Sequence[float]] | None:
        return None


def run(command: Sequence[str], folder: Path, output: str, seconds_max: float) -> bytes:
    try:
        # The user's own command, from the recipe, without a shell.
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=seconds_max, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TrainingError(f"command {command[0]!r} did not finish: {error}.") from error
    last = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing on stderr"])[-1]
    if done.returncode:
        raise TrainingError(f"command {command[0]!r} ended with {done.returncode}: {last}")
    try:
        return (folder / output).read_bytes()
    except OSError as error:
        raise TrainingError(f"command {command[0]!r} ended well and wrote no {output!r}.") from error
