"""python -m examples.activity: how often "it changed and changed back" is right, judged against what was really done.
With `--learn` a classifier that has seen little learns from those flags.

Data: BasicMotions, which ships in the package aeon and is read from there (four activities of ten seconds each, a
watch's accelerometer and gyroscope at 10 Hz). A linear classifier of the gyroscope alone is fitted on the training part
and judged on recordings put together from the test part, so where one ends and the next begins is known.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from assertions import Flag, Observation, evaluate
from examples.activity import assertions as where
from examples.activity.assertions import SECONDS, steady
from examples.precision import report, statements
from examples.rehearsed import learned
from learning.rehearsal import Lesson

HERTZ = 10
WINDOW = 10  # samples of one prediction: a second
STEP = 5
SENSORS = slice(3, 6)  # the gyroscope

Series = NDArray[np.float64]


def folder() -> Path:
    found = find_spec("aeon")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the recordings are in the package aeon: pip install --no-deps aeon")
    return Path(found.submodule_search_locations[0]) / "datasets" / "data" / "BasicMotions"


def read(part: str) -> list[tuple[Series, str]]:
    """(sensors x samples, activity) of each series."""
    lines = (folder() / f"BasicMotions_{part}.ts").read_text().splitlines()
    found = []
    for line in lines[lines.index("@data") + 1 :]:
        *sensors, activity = line.split(":")
        found.append((np.array([[float(v) for v in s.split(",")] for s in sensors])[SENSORS], activity.strip()))
    return found


def features(series: Series) -> list[float]:
    return [*series.mean(axis=1), *series.std(axis=1)]


def windows(series: Series) -> list[list[float]]:
    return [features(series[:, at : at + WINDOW]) for at in range(0, series.shape[1] - WINDOW + 1, STEP)]


def flagged(said: Sequence[str]) -> list[tuple[Flag, range]]:
    """What `steady` flags of a row of predictions, and the places where another activity came in between."""
    observations = [
        Observation(
            pipeline="activity",
            stages=("prediction",),
            values=({"person": "all", "activity": activity},),
            serial=f"0:{n}",
            path="",
            time=n * STEP / HERTZ,
        )
        for n, activity in enumerate(said)
    ]
    return [
        (
            flag,
            range(
                int(flag.data.window[0].split("/")[2].split(":")[1]) + 1, int(flag.data.lineage.serial.split(":")[1])
            ),
        )
        for flag in evaluate([steady], observations).flags
    ]


def learn() -> None:
    """The classifier starts from the first two seconds of one recording of each activity. The other recordings are
    traffic, gate and exam, whole recordings each."""
    series = read("TRAIN") + read("TEST")
    first = {activity: n for n, (_, activity) in reversed(list(enumerate(series)))}
    rest = [n for n in random.Random(0).sample(range(len(series)), len(series)) if n not in first.values()]
    start = [(row, series[n][1]) for n in first.values() for row in windows(series[n][0])[:3]]
    traffic, held_out, exam = (
        [(row, series[n][1]) for n in part for row in windows(series[n][0])]
        for part in (rest[:40], rest[40:58], rest[58:])
    )

    def arrays(rows: list[tuple[list[float], str]]) -> tuple[Series, NDArray[np.str_]]:
        return np.array([row for row, _ in rows]), np.array([activity for _, activity in rows])

    def severities(said: NDArray[np.str_], shares: Series) -> Series:
        column = np.zeros((len(said), 1))
        for _, between in flagged([str(each) for each in said]):
            column[between, 0] = 1.0 / max(1, len(between))  # the shorter, the stranger
        return column

    lesson = Lesson(
        arrays(start), arrays(traffic), arrays(held_out), arrays(exam), ("steady",), severities,
        lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)),
    )  # fmt: skip
    learned(f"{len(traffic)} windows of traffic; the first version has seen {len(start)}", lesson, budget=8)


def main() -> None:
    if "--learn" in sys.argv:
        learn()
        return
    train = [(row, activity) for series, activity in read("TRAIN") for row in windows(series)]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    model.fit([row for row, _ in train], [activity for _, activity in train])
    tests = read("TEST")
    # One order only: the same predictions in another order would be counted again.
    order = random.Random(0).sample(tests, len(tests))
    really = [activity for series, activity in order for _ in windows(series)]
    said = [str(each) for each in model.predict([row for series, _ in order for row in windows(series)])]
    verdicts = [any(said[at] != really[at] for at in between) for _, between in flagged(said)]
    wrong = sum(a != b for a, b in zip(really, said, strict=True))
    title = f"T = {SECONDS:g} s; BasicMotions, test part; {wrong / len(said):.1%} of {len(said)} predictions wrong"
    report(title, {"steady": [verdicts]}, {"steady": statements(where, "steady")})


if __name__ == "__main__":
    main()
