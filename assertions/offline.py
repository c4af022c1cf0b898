"""The same assertions over a file or a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assertions.core.definition import Assertion
from assertions.core.engine import Engine
from assertions.core.flag import Flag, FlagState
from assertions.core.health import Health
from assertions.core.observation import Event, Observation, Seen, parse_value
from assertions.errors import ObservationError
from assertions.judging import Judge

BATCH = 500


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of a run over data that is complete."""

    flags: tuple[Flag, ...]
    """Standing flags, by event time; withdrawn ones are not among them."""
    health: Mapping[str, Health]
    observations: int


def evaluate(assertions: Iterable[Assertion], observations: Iterable[Observation]) -> Evaluation:
    """Run assertions over observations that all stand. Any order; the flags are those of a live run.

    Never raises for what an assertion does: look at `health`.
    """
    judge = Judge()
    try:
        engine = Engine(assertions, judge)
        count = 0
        newest: dict[str, Flag] = {}
        ordered = sorted(observations, key=lambda each: each.order)
        for start in range(0, len(ordered), BATCH):
            batch: list[Event] = [Seen(each, stands=True) for each in ordered[start : start + BATCH]]
            count += len(batch)
            _note(newest, engine.take(batch))
        _note(newest, engine.finish())
        for evaluator in engine.evaluators.values():
            evaluator.health.is_suspended = judge.is_suspended(evaluator.assertion)
        standing = [flag for flag in newest.values() if flag.state is FlagState.STANDING]
        return Evaluation(
            tuple(sorted(standing, key=lambda flag: (flag.time, flag.id))),
            {name: evaluator.health for name, evaluator in engine.evaluators.items()},
            count,
        )
    finally:
        judge.close()


def _note(newest: dict[str, Flag], flags: Iterable[Flag]) -> None:
    for flag in flags:
        newest[flag.id] = flag


def read_observations(path: Path) -> Iterator[Observation]:
    """Observations of a file: JSON lines, or Parquet with the same columns (needs pyarrow; values as JSON text).

    Raises ObservationError with the line's number for the first line that is none.
    """
    rows = _parquet(path) if path.suffix == ".parquet" else json_lines(path)
    for number, row in rows:
        try:
            yield Observation.from_json(row)
        except ObservationError as error:
            raise ObservationError(f"{path.name}, line {number}: {error}") from None


def json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = parse_value(line)
            except ValueError:
                raise ObservationError(f"{path.name}, line {number}: not JSON, or nested too deeply") from None
            if not isinstance(row, dict):
                raise ObservationError(f"{path.name}, line {number}: not a JSON object")
            yield number, row


def _parquet(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 an optional extra
    except ModuleNotFoundError:
        raise ObservationError(
            f"{path.name}: this needs the package pyarrow: pip install 'descant[parquet]'. Or use JSON lines."
        ) from None
    try:
        table = parquet.read_table(path)
    except ArrowException as error:
        raise ObservationError(f"{path.name} is no Parquet file that can be read: {error}") from None
    for number, row in enumerate(table.to_pylist(), 1):
        given = {name: value for name, value in row.items() if value is not None}
        for name in ("value", "values"):
            if isinstance(given.get(name), str):
                given[name] = _parsed(path, number, given[name])
        yield number, given


def _parsed(path: Path, number: int, text: str) -> Any:
    try:
        return parse_value(text)
    except ValueError:
        raise ObservationError(f"{path.name}, row {number}: a value is not JSON, or nested too deeply") from None
