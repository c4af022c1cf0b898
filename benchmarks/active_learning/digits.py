"""digits: scikit-learn's digits as short tracks of a camera that sometimes fails. The corruption is
simulated."""

from __future__ import annotations

from functools import cache

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier

from benchmarks.active_learning.world import Array, Predictions, Task, World

FRAMES = 5
TRACKS = 400
TEST_TRACKS = 200
CLEAN = 120
"""Clean digits that the first model is trained on: it has never seen a failing camera."""


@cache
def _digits() -> tuple[Array, Array]:
    data = load_digits()
    return data.images / 16.0, data.target


def frames(image: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """(frames, 8, 8) of one digit that moves a little, and which frames a fault hit. A fault stays for some
    frames."""
    track = np.stack([np.roll(image, rng.integers(-1, 2) * (rng.random() < 0.3), axis=1) for _ in range(FRAMES)])
    hit = np.zeros(FRAMES, bool)
    if rng.random() < 0.6:
        begins = int(rng.integers(FRAMES))
        hit[begins : begins + int(rng.integers(1, 4))] = True
        track[hit] = _fault(track[hit], int(rng.integers(4)), rng)
    return np.clip(track + rng.normal(0, 0.08, track.shape), 0, 1), hit


def _fault(images: Array, kind: int, rng: np.random.Generator) -> Array:
    broken = images.copy()
    if kind == 0:  # dirt on the lens
        row, column = rng.integers(0, 5, 2)
        broken[:, row : row + 3, column : column + 3] = 1.0
    elif kind == 1:  # dead lines
        broken[:, int(rng.integers(1, 6)) :: 4, :] = 0.0
    elif kind == 2:  # night: inverted and dim
        broken = 1.0 - 0.6 * broken
    else:  # shaken
        broken = np.roll(broken, int(rng.choice([-2, 2])), axis=2)
    return broken


def features(images: Array) -> Array:
    return images.reshape(len(images), -1)


def deal(rng: np.random.Generator) -> World:
    images, truth = _digits()
    order = rng.permutation(len(images))
    start, tracked, tested = np.split(order, [CLEAN, CLEAN + TRACKS])
    tested = tested[:TEST_TRACKS]
    pool = np.concatenate([frames(images[i], rng)[0] for i in tracked])
    test = np.concatenate([frames(images[i], rng)[0] for i in tested])
    ink = pool.mean(axis=(1, 2))
    normal = np.percentile(images[start].mean(axis=(1, 2)), [2, 98])

    def by_track(labels: Array) -> tuple[Array, Array]:
        """Majority class of each frame's track and its share."""
        votes = np.stack([np.bincount(track, minlength=10) for track in labels.reshape(-1, FRAMES)])
        return np.repeat(votes.argmax(axis=1), FRAMES), np.repeat(votes.max(axis=1) / FRAMES, FRAMES)

    def assertions(given: Predictions) -> Array:
        majority, share = by_track(given.labels)
        tracks = given.labels.reshape(-1, FRAMES)
        flicker = np.zeros(tracks.shape)
        flicker[:, 1:-1] = (tracks[:, 1:-1] != tracks[:, :-2]) & (tracks[:, :-2] == tracks[:, 2:])
        jump = np.zeros(tracks.shape)
        shown = pool.reshape(-1, FRAMES, 64)
        jump[:, 1:] = np.abs(np.diff(shown, axis=1)).mean(axis=2)
        return np.column_stack(
            [
                np.where(given.labels != majority, share, 0),
                flicker.ravel(),
                np.where((ink < normal[0]) | (ink > normal[1]), np.abs(ink - normal.mean()), 0),
                np.where((jump.ravel() > 0.25), jump.ravel(), 0),
            ]
        )

    def weak(given: Predictions) -> list[tuple[str, Array]]:
        majority, share = by_track(given.labels)
        return [("track-majority", np.where((given.labels != majority) & (share >= 0.6), majority, -1))]

    pool_rows, repeated = features(pool), np.repeat(truth[tracked], FRAMES)
    return World(
        (features(images[start]), truth[start]), (pool_rows, repeated), (features(test), np.repeat(truth[tested], FRAMES)),
        pool_rows, assertions, lambda: MLPClassifier((48,), solver="lbfgs", alpha=1.0, max_iter=80, random_state=0),
        lambda t, p: float(accuracy_score(t, p)), 10, weak,
    )  # fmt: skip


TASKS = (Task("digits", "frames of moving digits, simulated camera faults; the first are clean", deal, 40),)
